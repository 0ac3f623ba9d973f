#!/bin/sh
# ResNets beside PyTorch, live: same weights, same batch of 8, judged against
# PyTorch in float64 (resnets.py); model files both ways. Needs Python with
# torch, torchvision and safetensors (PEER_PYTHON).
#
# All five depths at 224 pixels take half an hour on two cores, 8 GB of memory and
# 1 GB of disk. Some of it:
#
#	PEER_DEPTHS='18 50' PEER_SIZE=64 PEER_BATCHES=1 prove t/peer/41-torch.t
#
# PEER_CACHE=DIR keeps what PyTorch computed (5 GB), so that the next run takes
# minutes; PEER_TABLE=FILE gets all distances: dtype, depth, batch, whose, then the
# columns of WHAT (resnets.py) and for ours the median, over gradients, of its
# distance in parts of those of PyTorch's two layouts.
#
# What is judged, of one step in training: every gradient, the logits, the loss, every
# buffer of a norm; as the norm of the difference to float64 by the norm of float64.
# In fp32 each is within 2e-5 in each batch, and in the median of the batches nearer than
# PyTorch's own fp32. In bf16 it is no further than PyTorch's autocast was.
#
# A gradient jumps where an activation passes zero or two maxima of a pool change
# places. At 224 pixels, where there are many, weights keep activations away from
# zero, and those batches are taken, in the order of their seeds, in which float64
# has nothing within 1e-6 of another branch: then all sides take the same ones.
# The two vectors of a norm count as one gradient: that of a bias which the next norm
# takes away again is what rounding leaves of nothing.
#
# PyTorch's own fp32 has two distances from float64, for its order of summation
# follows the layout of memory. In channels_last ("nhwc"), which is our layout
# too, its convolutions add all channels in one chain; in its other layout
# ("nchw") they add them by sixteens, which rounds less. Ours must be no further
# away than either, and each gradient by itself nearer in the median. So on tiles,
# where the processor has them, as on vectors (MILLRACE_TILES=off).
. "${TOP:=$(cd "$(dirname "$0")/../.." && pwd)}/t/lib/tap.sh"
. "$TOP/t/lib/peer.sh"
peer_needs torch torchvision safetensors

size=${PEER_SIZE:-224} batches=${PEER_BATCHES-} cache=${PEER_CACHE-}
export PEER_BATCHES PEER_CACHE
if [ -f "$BIN/engine-cpu.so" ]; then
	for depth in ${PEER_DEPTHS:-18 34 50 101 152}; do
		PEER_BATCHES=${batches:-$((depth > 50 ? 2 : 3))}
		PEER_CACHE=${cache:-$PWD/kept}
		mkdir kept
		for dtype in F32 BF16; do
			peer_run "cpu, ResNet-$depth, $dtype" "$TOP/t/peer/resnets.py" \
				cpu $dtype "$depth" "$size"
		done
		export MILLRACE_TILES=off
		peer_run "cpu, ResNet-$depth, F32, no tiles" "$TOP/t/peer/resnets.py" \
			cpu F32 "$depth" "$size"
		unset MILLRACE_TILES
		rm -rf kept
	done
	PEER_CACHE=$cache
	# losses of three steps
	[ "$size" = 64 ] || peer_run 'cpu, ResNet-50 at 64' \
		"$TOP/t/peer/resnets.py" cpu F32 50 64
fi
peer_run 'ref, ResNet-18' "$TOP/t/peer/resnets.py" ref F32 18 64
done_testing
