// Sum tree of fan-out 32 on one CUDA device: set a batch of leaves, recompute the sums above them.
//
// Layout. One contiguous array, level after level, leaves first. A level of n nodes is padded with zeros to a multiple
// of 32, and the 32 nodes [32 k, 32 k + 32) of a level are the children of node k of the level above. The last level is
// the root alone: the last element of the array is the sum of all leaves.
//
// Determinism. A sum is always recomputed from its 32 children, never adjusted by a difference, and the 32 are always
// added in the same order: halves are folded, x[0:16] + x[16:32], then x[0:8] + x[8:16], down to one. There is no
// atomic operation on floating-point numbers; of several values for one leaf the one latest in the batch is kept, which
// an integer maximum decides. So the result depends on the arguments alone, bit for bit.
//
// Interface. Plain C, no torch: device pointers, sizes and a stream go in, a cudaError_t comes out (0 is success).
// Nothing waits for the device. The library carries its own CUDA runtime, which shares the device's primary context,
// and thereby pointers and streams, with any other runtime in the process.

#include <cstdint>
#include <cuda_runtime.h>

#define RL_CUDA_EXPORT extern "C" __attribute__((visibility("default")))

#define RL_CUDA_STRING_(...) #__VA_ARGS__
#define RL_CUDA_STRING(...) RL_CUDA_STRING_(__VA_ARGS__)

namespace {

constexpr int kFanOut = 32;  // one warp reads the children of one node
constexpr int kThreads = 256;
constexpr int kMaxLevels = 8;  // 32^7 leaves and the root

// owner[leaf] = -1 for each leaf that the batch writes; the rest of owner stays uninitialised and is never read.
__global__ void clear_owners(const int64_t* __restrict__ index, int64_t batch, int64_t leaves, int32_t* owner) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < batch && index[i] >= 0 && index[i] < leaves) owner[index[i]] = -1;
}

// owner[leaf] = the latest position in the batch that writes the leaf.
__global__ void find_owners(const int64_t* __restrict__ index, int64_t batch, int64_t leaves, int32_t* owner) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < batch && index[i] >= 0 && index[i] < leaves) atomicMax(&owner[index[i]], int32_t(i));
}

template <typename scalar_t>
__global__ void write_leaves(scalar_t* __restrict__ tree, const int64_t* __restrict__ index,
                             const scalar_t* __restrict__ value, int64_t batch, int64_t leaves,
                             const int32_t* __restrict__ owner) {
    const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= batch) return;
    const int64_t leaf = index[i];
    if (leaf >= 0 && leaf < leaves && owner[leaf] == int32_t(i)) tree[leaf] = value[i];
}

// One warp sums the children of one node. With `index` null, warp w takes node w; else the node above leaf index[w].
// Warps of one node all write the same number.
template <typename scalar_t>
__global__ void sum_children(scalar_t* tree, const int64_t* __restrict__ index, int64_t count, int64_t leaves,
                             int64_t leaves_per_node, int64_t children_at, int64_t nodes_at) {
    const int64_t warp = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kFanOut;
    const int lane = threadIdx.x % kFanOut;
    if (warp >= count) return;
    int64_t node = warp;
    if (index != nullptr) {
        const int64_t leaf = index[warp];
        if (leaf < 0 || leaf >= leaves) return;  // the whole warp leaves: it reads one index
        node = leaf / leaves_per_node;
    }
    scalar_t sum = tree[children_at + node * kFanOut + lane];
    for (int offset = kFanOut / 2; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
    if (lane == 0) tree[nodes_at + node] = sum;
}

int64_t padded(int64_t nodes) { return (nodes + kFanOut - 1) / kFanOut * kFanOut; }

unsigned int blocks(int64_t threads) { return static_cast<unsigned int>((threads + kThreads - 1) / kThreads); }

template <typename scalar_t>
int update(int device, void* stream_pointer, scalar_t* tree, int64_t leaves, const int64_t* index,
           const scalar_t* value, int64_t batch, int32_t* owner) {
    if (leaves <= 0 || leaves % kFanOut != 0 || batch < 0 || batch > INT32_MAX) return cudaErrorInvalidValue;
    if (batch == 0) return cudaSuccess;
    const cudaError_t selected = cudaSetDevice(device);
    if (selected != cudaSuccess) return selected;
    const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);

    clear_owners<<<blocks(batch), kThreads, 0, stream>>>(index, batch, leaves, owner);
    find_owners<<<blocks(batch), kThreads, 0, stream>>>(index, batch, leaves, owner);
    write_leaves<<<blocks(batch), kThreads, 0, stream>>>(tree, index, value, batch, leaves, owner);

    int64_t children_at = 0, children = leaves, leaves_per_node = kFanOut;
    for (int level = 0; level < kMaxLevels; ++level, leaves_per_node *= kFanOut) {
        const int64_t nodes = children / kFanOut, nodes_at = children_at + children;
        const bool is_whole_level = nodes <= batch;
        const int64_t count = is_whole_level ? nodes : batch;
        sum_children<<<blocks(count * kFanOut), kThreads, 0, stream>>>(tree, is_whole_level ? nullptr : index, count,
                                                                       leaves, leaves_per_node, children_at, nodes_at);
        if (nodes == 1) break;
        children_at = nodes_at;
        children = padded(nodes);
    }
    return cudaGetLastError();
}

}  // namespace

// Sets tree[index[i]] = value[i] and recomputes the sums above. Entries of `index` outside [0, leaves) are left out.
//   device  ordinal of the device that holds every array.
//   stream  cudaStream_t to work on.
//   tree    the whole array; leaves is the number of its leaves, a multiple of 32.
//   owner   scratch, at least `leaves` int32 elements, contents arbitrary.
RL_CUDA_EXPORT int rl_cuda_sum_tree_update_f32(int device, void* stream, float* tree, int64_t leaves,
                                               const int64_t* index, const float* value, int64_t batch,
                                               int32_t* owner) {
    return update<float>(device, stream, tree, leaves, index, value, batch, owner);
}

// The same for double.
RL_CUDA_EXPORT int rl_cuda_sum_tree_update_f64(int device, void* stream, double* tree, int64_t leaves,
                                               const int64_t* index, const double* value, int64_t batch,
                                               int32_t* owner) {
    return update<double>(device, stream, tree, leaves, index, value, batch, owner);
}

// Writes the number of CUDA devices; the error is that of cudaGetDeviceCount.
RL_CUDA_EXPORT int rl_cuda_device_count(int* count) { return cudaGetDeviceCount(count); }

// What an error code means, for people.
RL_CUDA_EXPORT const char* rl_cuda_error_string(int code) {
    return cudaGetErrorString(static_cast<cudaError_t>(code));
}

// Architectures that the library holds machine code for, for example "75 80 90"; newer ones run its PTX.
RL_CUDA_EXPORT const char* rl_cuda_architectures() { return RL_CUDA_STRING(RL_CUDA_ARCHITECTURES); }
