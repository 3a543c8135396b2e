// Set a batch of leaves and recompute the nodes above them: sums, minima or maxima.
//
// Determinism. A node is always recomputed from its 32 children, never adjusted by a difference, and the 32 are always
// combined in the same order: halves are folded, x[0:16] with x[16:32], then x[0:8] with x[8:16], down to one. There is
// no atomic operation on floating-point numbers; of several values for one leaf the one latest in the batch is kept. So
// the result depends on the arguments alone, bit for bit.
//
// Three ways, by the size of the batch: one block does everything in one launch; or each entry looks for a later one of
// its leaf among the others; or a hash table says which entry of a leaf is the last. None needs memory that grows with
// the number of leaves.

#include "tree_layout.cuh"

namespace rl_cuda {
namespace {

constexpr int64_t kOneBlock = 512;    // largest batch of the first way
constexpr int64_t kCompared = 2048;   // and of the second
constexpr int64_t kSlotBytes = sizeof(int64_t) + sizeof(int32_t);

struct Sum {
    template <typename T> RL_DEVICE static T combine(T a, T b) { return a + b; }
};
struct Min {
    template <typename T> RL_DEVICE static T combine(T a, T b) { return b < a ? b : a; }
};
struct Max {
    template <typename T> RL_DEVICE static T combine(T a, T b) { return b > a ? b : a; }
};

// What the ways of writing leaves share. Entries whose index is out of range are left out.
template <typename scalar_t>
struct Batch {
    scalar_t* tree;
    int64_t leaves;
    const int64_t* index;
    const scalar_t* value;
    int64_t size;
    RL_DEVICE bool has(int64_t leaf) const { return leaf >= 0 && leaf < leaves; }
};

// One warp writes the value of one entry, unless a later entry names the same leaf.
template <typename scalar_t>
struct WriteIfLast {
    Batch<scalar_t> batch;
    RL_DEVICE void operator()(int64_t entry) const {
        const int64_t leaf = batch.index[entry];
        if (!batch.has(leaf)) return;
        for (int64_t first = entry + 1; first < batch.size; first += kLanes) {
            const auto is_same = each_lane(
                [&](int lane) { return first + lane < batch.size && batch.index[first + lane] == leaf; });
            if (bits(is_same) != 0) return;
        }
        once([&] { batch.tree[leaf] = batch.value[entry]; });
    }
};

// Open addressing: keys[slot] is a leaf or -1, last[slot] the latest entry that names it. At most half of it is taken.
struct Table {
    int64_t* keys;
    int32_t* last;
    int bits;
    RL_DEVICE uint64_t mask() const { return (uint64_t(1) << bits) - 1; }
    RL_DEVICE uint64_t home(int64_t leaf) const {
        return (static_cast<uint64_t>(leaf) * 0x9e3779b97f4a7c15ull) >> (64 - bits);
    }
};

template <typename scalar_t>
struct Enter {
    Batch<scalar_t> batch;
    Table table;
    RL_DEVICE void operator()(int64_t entry) const {
        const int64_t leaf = batch.index[entry];
        if (!batch.has(leaf)) return;
        uint64_t slot = table.home(leaf);
        for (int64_t found = claim(&table.keys[slot], leaf); found != -1 && found != leaf;
             found = claim(&table.keys[slot], leaf))
            slot = (slot + 1) & table.mask();
        raise_to(&table.last[slot], static_cast<int32_t>(entry));
    }
};

template <typename scalar_t>
struct WriteEntered {
    Batch<scalar_t> batch;
    Table table;
    RL_DEVICE void operator()(int64_t entry) const {
        const int64_t leaf = batch.index[entry];
        if (!batch.has(leaf)) return;
        uint64_t slot = table.home(leaf);
        while (table.keys[slot] != leaf) slot = (slot + 1) & table.mask();
        if (table.last[slot] == static_cast<int32_t>(entry)) batch.tree[leaf] = batch.value[entry];
    }
};

// One warp recomputes one node of a level: every node, or with an index the nodes above those leaves. Warps that share a
// node write the same number.
template <typename scalar_t, typename Op>
struct Combine {
    scalar_t* tree;
    int64_t leaves;
    const int64_t* index;  // null for every node
    int64_t count;
    int64_t children_at, nodes_at;
    int shift;
    RL_DEVICE void operator()(int64_t item) const {
        int64_t node = item;
        if (index != nullptr) {
            const int64_t leaf = index[item];
            if (leaf < 0 || leaf >= leaves) return;
            node = leaf >> shift;
        }
        const scalar_t* children = tree + children_at + node * kFanOut;
        auto x = each_lane([&](int lane) { return children[lane]; });
        for (int offset = kFanOut / 2; offset > 0; offset /= 2) {
            const auto other = from_above(x, offset);
            x = each_lane([&](int lane) { return Op::combine(x[lane], other[lane]); });
        }
        const scalar_t result = x[0];
        once([&] { tree[nodes_at + node] = result; });
    }
};

// The nodes of `level`, one above the leaves at least, that a batch changes. A batch that is not smaller than the level
// changes all of it, which spares reading the index.
template <typename scalar_t, typename Op>
RL_DEVICE_HOST Combine<scalar_t, Op> combine_at(const Batch<scalar_t>& batch, const Levels& levels, int level) {
    const bool is_whole = levels.nodes[level] <= batch.size;
    return {batch.tree,
            batch.leaves,
            is_whole ? nullptr : batch.index,
            is_whole ? levels.nodes[level] : batch.size,
            levels.start[level - 1],
            levels.start[level],
            level * kShift};
}

// A small batch in one launch: write the leaves, then level after level.
template <typename scalar_t, typename Op>
struct UpdateInOneBlock {
    Batch<scalar_t> batch;
    Levels levels;
    RL_DEVICE int phases() const { return levels.root + 1; }
    RL_DEVICE int64_t count(int phase) const {
        return phase == 0 || batch.size < levels.nodes[phase] ? batch.size : levels.nodes[phase];
    }
    RL_DEVICE void operator()(int phase, int64_t item) const {
        if (phase == 0)
            WriteIfLast<scalar_t>{batch}(item);
        else
            combine_at<scalar_t, Op>(batch, levels, phase)(item);
    }
};

// Smallest power of two, as an exponent, that leaves half of a table empty.
int table_bits(int64_t batch) {
    int bits = 1;
    while ((int64_t(1) << bits) < 2 * batch) ++bits;
    return bits;
}

template <typename scalar_t>
void write_leaves(cudaStream_t stream, const Batch<scalar_t>& batch, void* scratch) {
    if (batch.size <= kCompared) {
        for_each_warp(stream, batch.size, WriteIfLast<scalar_t>{batch});
        return;
    }
    const int bits = table_bits(batch.size);
    const int64_t slots = int64_t(1) << bits;
    int64_t* keys = static_cast<int64_t*>(scratch);
    const Table table{keys, reinterpret_cast<int32_t*>(keys + slots), bits};
    fill_ones(stream, scratch, slots * kSlotBytes);
    for_each_thread(stream, batch.size, Enter<scalar_t>{batch, table});
    for_each_thread(stream, batch.size, WriteEntered<scalar_t>{batch, table});
}

template <typename scalar_t, typename Op>
int update(int device, void* stream_pointer, scalar_t* tree, int64_t leaves, const int64_t* index,
           const scalar_t* value, int64_t size, void* scratch) {
    Levels levels;
    if (!find_levels(leaves, &levels) || size < 0 || size > INT32_MAX) return cudaErrorInvalidValue;
    if (size == 0) return cudaSuccess;
    const int selected = select(device);
    if (selected != cudaSuccess) return selected;
    const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);
    const Batch<scalar_t> batch{tree, leaves, index, value, size};
    if (size <= kOneBlock) {
        in_one_block(stream, UpdateInOneBlock<scalar_t, Op>{batch, levels});
        return status();
    }
    write_leaves(stream, batch, scratch);
    for (int level = 1; level <= levels.root; ++level) {
        const auto work = combine_at<scalar_t, Op>(batch, levels, level);
        for_each_warp(stream, work.count, work);
    }
    return status();
}

template <typename scalar_t, typename Op>
int rebuild(int device, void* stream_pointer, scalar_t* tree, int64_t leaves) {
    Levels levels;
    if (!find_levels(leaves, &levels)) return cudaErrorInvalidValue;
    const int selected = select(device);
    if (selected != cudaSuccess) return selected;
    const Batch<scalar_t> all{tree, leaves, nullptr, nullptr, leaves};
    for (int level = 1; level <= levels.root; ++level) {
        const auto work = combine_at<scalar_t, Op>(all, levels, level);
        for_each_warp(static_cast<cudaStream_t>(stream_pointer), work.count, work);
    }
    return status();
}

}  // namespace
}  // namespace rl_cuda

// Bytes of scratch that an update of `batch` entries needs; its contents are arbitrary.
RL_CUDA_EXPORT int64_t rl_cuda_tree_update_scratch(int64_t batch) {
    return batch <= rl_cuda::kCompared ? 0 : (int64_t(1) << rl_cuda::table_bits(batch)) * rl_cuda::kSlotBytes;
}

// update: sets tree[index[i]] = value[i] and recomputes the nodes above. Entries of `index` outside [0, leaves) are left
// out. rebuild: recomputes every node from the leaves.
//   device  ordinal of the device that holds every array.
//   stream  cudaStream_t to work on.
//   tree    the whole array; leaves is the number of its leaves, a multiple of 32.
#define RL_CUDA_TREE(kind, Op, suffix, scalar_t)                                                                      \
    RL_CUDA_EXPORT int rl_cuda_##kind##_tree_update_##suffix(int device, void* stream, scalar_t* tree, int64_t leaves, \
                                                             const int64_t* index, const scalar_t* value,             \
                                                             int64_t batch, void* scratch) {                          \
        return rl_cuda::update<scalar_t, rl_cuda::Op>(device, stream, tree, leaves, index, value, batch, scratch);    \
    }                                                                                                                 \
    RL_CUDA_EXPORT int rl_cuda_##kind##_tree_rebuild_##suffix(int device, void* stream, scalar_t* tree,               \
                                                              int64_t leaves) {                                       \
        return rl_cuda::rebuild<scalar_t, rl_cuda::Op>(device, stream, tree, leaves);                                 \
    }

RL_CUDA_TREE(sum, Sum, f32, float)
RL_CUDA_TREE(sum, Sum, f64, double)
RL_CUDA_TREE(min, Min, f32, float)
RL_CUDA_TREE(min, Min, f64, double)
RL_CUDA_TREE(max, Max, f32, float)
RL_CUDA_TREE(max, Max, f64, double)
