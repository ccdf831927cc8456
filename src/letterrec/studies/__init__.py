"""Many runs at once: the paper's tables (`reproduce`) and its hyper-parameter study (`sweep`).

`rows` says what is compared; `paper` holds the paper's figures; `bootstrap` says which differences
are more than chance; `sheets` shows it all.
"""
