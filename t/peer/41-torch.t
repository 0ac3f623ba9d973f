#!/bin/sh
# ResNets beside PyTorch, live: same weights, same batch, judged against
# PyTorch in float64 (resnets.py); model files both ways. Needs Python with
# torch, torchvision and safetensors (PEER_PYTHON).
#
# By default ResNet-18 and 50 at 64 pixels, which takes minutes. PEER_DEPTHS,
# PEER_SIZE and PEER_BATCHES (3) say otherwise; all there is, in an hour or two on
# two cores and with 12 GB of memory:
#
#	PEER_DEPTHS='18 34 50 101 152' PEER_SIZE=224 make test-peer
#
# A gradient jumps where an activation passes zero: at 224 pixels, where there are
# many, weights and batches are such that in float64 none is within 1e-6 of that,
# nor two maxima of a pool of each other, so that all sides take the same branches.
# Then all is judged, at 64 pixels as at 224.
#
# PyTorch's own fp32 has two distances from float64, for its order of summation
# follows the layout of memory. In channels_last ("nhwc"), which is our layout
# too, its convolutions add all channels in one chain; in its other layout
# ("nchw") they add them by sixteens, which rounds less. Ours must be no further
# away than either, and each gradient by itself nearer in the median. Where the
# processor has no matrix tiles (tiles.h) our 3x3 convolutions are oneDNN's on
# [N,H,W,C], with their one chain: then it may be twice the second. A single batch
# can have an activation within rounding of zero, where any of the three jumps, so
# the median of three batches is compared.
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/peer.sh"
peer_needs torch torchvision safetensors

size=${PEER_SIZE:-64}
if [ -f "$BIN/engine-cpu.so" ]; then
	for depth in ${PEER_DEPTHS:-18 50}; do
		for dtype in F32 BF16; do
			peer_run "cpu, ResNet-$depth, $dtype" "$TOP/t/peer/resnets.py" \
				cpu $dtype "$depth" "$size"
		done
	done
fi
peer_run 'ref, ResNet-18' "$TOP/t/peer/resnets.py" ref F32 18 64
done_testing
