#!/usr/bin/env bash
# Compiles the CPU kernels for another processor without a warning, looks for its vector instructions, and runs self_check.cpp.
#
#   python_tests/native/cross_check.sh [BUILD_DIR]
#
#   CXX       the cross compiler; aarch64-linux-gnu-g++ (Debian package g++-aarch64-linux-gnu) unless set
#   EMULATOR  what runs the check; qemu-aarch64-static (Debian package qemu-user-static) unless set. Where it is absent, the
#             check is compiled and linked but not run, and the last line says so.
set -euo pipefail
build=$(realpath -m "${1:-build/cross}")
cd "$(dirname "$0")/../.."
cxx=${CXX:-aarch64-linux-gnu-g++}
emulator=${EMULATOR:-qemu-aarch64-static}
isa=neon
objdump=${cxx%g++}objdump
mkdir -p "$build"

if ! command -v "$cxx" >/dev/null; then
    echo "cross_check: no $cxx (Debian package g++-aarch64-linux-gnu)" >&2
    exit 2
fi

# The flags of the kernels are those of CMakeLists.txt.
kernel_flags=$(sed -n '/^set(SOFTDIFF_KERNEL_FLAGS/,/)/p' CMakeLists.txt | tr '\n' ' ' | sed 's/set(SOFTDIFF_KERNEL_FLAGS//; s/).*//')
common=(-std=gnu++17 -fPIC -fopenmp -fvisibility=hidden -Wall -Wextra -Werror -Icsrc -DSOFTDIFF_HAVE_NEON)

compile() { # object source flags...
    local object=$1 source=$2
    shift 2
    echo "== $cxx $source $*"
    "$cxx" "${common[@]}" "$@" -c "$source" -o "$build/$object"
    objects+=("$build/$object")
}

objects=()
kernels=()
for source in csrc/cpu/*.cpp; do
    name=$(basename "$source" .cpp)
    if grep -q SOFTDIFF_ARITHMETIC "$source"; then
        for arithmetic in float double; do
            # shellcheck disable=SC2086
            compile "${name}_$arithmetic.o" "$source" $kernel_flags \
                -DSOFTDIFF_ISA=$isa -DSOFTDIFF_VECTOR_BYTES=16 -DSOFTDIFF_ARITHMETIC=$arithmetic
            kernels+=("$build/${name}_$arithmetic.o")
        done
    elif grep -q SOFTDIFF_ISA "$source"; then
        compile "$name.o" "$source" -O2 -DSOFTDIFF_ISA=$isa
    else
        compile "$name.o" "$source" -O2
    fi
done

for object in "${kernels[@]}"; do
    count=$("$objdump" -d "$object" | grep -cE '[[:space:]]fml[as][[:space:]]+v[0-9]+\.(4s|2d)' || true)
    echo "== $(basename "$object"): $count vector multiply-adds (fmla, fmls)"
    if [ "$count" -lt 100 ]; then
        echo "cross_check: the kernels are not vectorised" >&2
        exit 1
    fi
done

# Vectorising the check's own loops (its sums) crashes g++ 12.2 for aarch64 (in vect_transform_reduction).
compile self_check.o python_tests/native/self_check.cpp -O2 -fno-tree-vectorize -Wno-psabi -DSOFTDIFF_ISA=$isa -DSOFTDIFF_VECTOR_BYTES=16
"$cxx" -static -fopenmp "${objects[@]}" -o "$build/self_check"
if command -v "$emulator" >/dev/null; then
    "$emulator" "$build/self_check"
    echo "== cross check: compiled, and all checks passed under $emulator"
else
    echo "== cross check: compiled, NOT RUN: no $emulator (Debian package qemu-user-static)"
fi
