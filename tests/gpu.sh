#!/usr/bin/env bash
# What only a machine with an NVIDIA GPU can show, in about eight minutes: parity with the CPU, the
# path of attention, bfloat16, speed beside compiled PyTorch where it is installed, a short sweep.
#
#   tests/gpu.sh                    Python 3.11 to 3.13 with pip install '.[gpu]'
#   GPU_PLATFORM=cpu tests/gpu.sh   the same on a machine without one, at a small size
#
# PYTHON: the interpreter. OUT: a folder for all that it writes, else a new one in the system's.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

PYTHON=${PYTHON:-python}
GPU_PLATFORM=${GPU_PLATFORM:-gpu}
OUT=${OUT:-$(mktemp -d)}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
export PYTHONPATH=$PWD GPU_PLATFORM ARCH_CACHE_DIR=$OUT/cache
failed=()

# part SECONDS NAME COMMAND...: its output in NAME.log, its exit code remembered; 124 is too late
part() {
  local limit=$1 name=$2 start=$SECONDS
  shift 2
  if timeout --kill-after=10 "$limit" "$@" >"$OUT/$name.log" 2>&1; then
    echo "$name: passed in $((SECONDS - start)) s"
  else
    local code=$?
    failed+=("$name")
    echo "$name: exit code $code after $((SECONDS - start)) s; the end of $OUT/$name.log:"
    tail -n 5 "$OUT/$name.log"
  fi
}

has() { "$PYTHON" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"; }

if [ "$GPU_PLATFORM" = gpu ]; then
  nvidia-smi >"$OUT/nvidia-smi.log" 2>&1 || { echo "nvidia-smi: no GPU here"; exit 2; }
  checks=(parity attention) cells=k0,k4 scale=small steps=200
else
  export JAX_PLATFORMS=$GPU_PLATFORM
  checks=(parity:vanilla attention:256) cells=k0 scale=tiny steps=20
fi
"$PYTHON" -c "import jax; print(jax.__version__, jax.devices('$GPU_PLATFORM'))" || exit 2

part 180 parity "$PYTHON" -m tests.gpu "${checks[0]}"
part 60 attention "$PYTHON" -m tests.gpu "${checks[1]}"
part 60 bfloat16 "$PYTHON" -m tests.gpu bfloat16

# results/ and runs/ lie where a command is started: all of these start in $OUT
launch=("$PYTHON" "$PWD/launch.py")
file=$PWD/experiments/sandwich.py
cd "$OUT" || exit 2
part 120 sweep "${launch[@]}" sweep "--config=$file:scale=$scale" "--cells=$cells" --seeds=1 \
  --name=gpu "--config.train.steps=$steps" "--config.evaluate.every=$steps" \
  "--config.save.every=$steps" --config.evaluate.tokens=65536
part 60 bench "${launch[@]}" bench "--config=$file:scale=$scale" --cells=k0
if has torch; then
  part 120 bench-torch "${launch[@]}" bench "--config=$file" --cells=k0 --against=torch
else
  echo "bench-torch: left out, torch is not installed"
fi

echo "written: $OUT"
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
