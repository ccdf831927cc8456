"""Jobs on a Ray cluster: what divides into parts, and training by several processes.

Nothing of Ray is imported before it is asked for. The machines of a cluster have the same
LetterRec, and share the folder of the run.
"""
