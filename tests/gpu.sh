#!/usr/bin/env bash
# What only a machine with an NVIDIA GPU can show, in five to eight minutes: parity with the CPU,
# the path of attention, bfloat16, a short sweep; then speed, also beside compiled PyTorch where that
# is installed.
#
#   tests/gpu.sh                    Python 3.11 to 3.13 with pip install '.[gpu]'
#   tests/gpu.sh parity bench       some of its parts
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
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} GPU_PLATFORM ARCH_CACHE_DIR=$OUT/cache
export XLA_PYTHON_CLIENT_PREALLOCATE=false # several processes share the device
parts=" ${*:-parity attention bfloat16 sweep bench bench-torch} "
rm -f "$OUT/failed"

# part SECONDS NAME COMMAND...: if it was asked for, its output in NAME.log; 124 is too late
part() {
  local limit=$1 name=$2 start=$SECONDS
  shift 2
  [[ $parts == *" $name "* ]] || return
  if timeout --kill-after=10 "$limit" "$@" >"$OUT/$name.log" 2>&1; then
    echo "$name: passed in $((SECONDS - start)) s"
  else
    local code=$?
    echo "$name" >>"$OUT/failed"
    echo "$name: exit code $code after $((SECONDS - start)) s; the end of $OUT/$name.log:"
    tail -n 5 "$OUT/$name.log"
  fi
}

has() { "$PYTHON" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"; }

sandwich=experiments/sandwich.py
if [ "$GPU_PLATFORM" = gpu ]; then
  nvidia-smi >"$OUT/nvidia-smi.log" 2>&1 || { echo "nvidia-smi: no GPU here"; exit 2; }
  checks=(parity attention) cells=k0,k4 scale=small steps=200
  decoder=("--config=$sandwich:scale=small" --config.model.dropout=0 --config.model.stack.apply=unrolled)
else
  export JAX_PLATFORMS=$GPU_PLATFORM
  checks=(parity:vanilla attention:256) cells=k0 scale=tiny steps=20
  decoder=("--config=$sandwich")
fi
"$PYTHON" -c "import jax; print(jax.__version__, jax.devices('$GPU_PLATFORM'))" || exit 2

# results/ and runs/ lie where a command is started
launch=("$PYTHON" "$PWD/launch.py")
ln -sfn "$PWD/experiments" "$OUT/experiments"
part 300 parity "$PYTHON" -m tests.gpu "${checks[0]}" &
part 120 attention "$PYTHON" -m tests.gpu "${checks[1]}" &
part 120 bfloat16 "$PYTHON" -m tests.gpu bfloat16 &
cd "$OUT" || exit 2
part 180 sweep "${launch[@]}" sweep "--config=$sandwich:scale=$scale" "--cells=$cells" --seeds=1 \
  --name=gpu "--config.train.steps=$steps" "--config.evaluate.every=$steps" \
  "--config.save.every=$steps" --config.evaluate.tokens=65536 &
wait
part 90 bench "${launch[@]}" bench "--config=$sandwich:scale=$scale" --cells=k0
if has torch; then
  part 240 bench-torch "${launch[@]}" bench "${decoder[@]}" --cells=k0 --against=torch
else
  echo "bench-torch: left out, torch is not installed"
fi

echo "written: $OUT"
if [ -s "$OUT/failed" ]; then
  echo "failed: $(tr '\n' ' ' <"$OUT/failed")"
  exit 1
fi
