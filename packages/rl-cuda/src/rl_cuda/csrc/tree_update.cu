// Set a batch of leaves and recompute the nodes above them: sums, minima or maxima.
//
// Determinism. A node is always recomputed from its 32 children, never adjusted by a difference, and the 32 are always
// combined in the same order: halves are folded, x[0:16] with x[16:32], then x[0:8] with x[8:16], down to one. There is
// no atomic operation on floating-point numbers; of several values for one leaf the one latest in the batch is kept. So
// the result depends on the arguments alone, bit for bit.
//
// Three ways, by the size of the batch: one block does everything in one launch; or each entry looks for a later one of
// its leaf among the others; or a hash table says which entry of a leaf is the last. None needs memory that grows with
// the number of leaves. The first way suits batches that give each warp of a block an entry or two: it waits for memory
// once for each, where many blocks wait at the same time.

#include "tree_layout.cuh"

namespace rl_cuda {
namespace {

constexpr int64_t kOneBlock = 64;     // largest batch of the first way
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

// Which leaves a batch names. Entries whose index is out of range are left out.
struct Batch {
    int64_t leaves;
    const int64_t* index;
    int64_t size;
    RL_DEVICE bool has(int64_t leaf) const { return leaf >= 0 && leaf < leaves; }
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

// How many items a batch makes of `level`, one above the leaves at least. A batch that is not smaller than the level
// changes all of it, which spares reading the index.
RL_DEVICE_HOST bool is_whole(const Batch& batch, const Levels& levels, int level) {
    return levels.nodes[level] <= batch.size;
}
RL_DEVICE_HOST int64_t items(const Batch& batch, const Levels& levels, int level) {
    return is_whole(batch, levels, level) ? levels.nodes[level] : batch.size;
}

// What is updated is a target: it knows how to write the values of an entry, how to combine a level, and how many items
// that makes. One tree, of any kind:
template <typename scalar_t, typename Op>
struct OneTree {
    Batch batch;
    scalar_t* tree;
    const scalar_t* value;
    static constexpr int kTrees = 1;
    RL_DEVICE void write(int64_t leaf, int64_t entry) const { tree[leaf] = value[entry]; }
    RL_DEVICE_HOST Combine<scalar_t, Op> combine(const Levels& levels, int level) const {
        return {tree,
                batch.leaves,
                is_whole(batch, levels, level) ? nullptr : batch.index,
                items(batch, levels, level),
                levels.start[level - 1],
                levels.start[level],
                level * kShift};
    }
};

// The level of several trees with the same leaves; those that are null are passed over.
struct CombineEach {
    Combine<double, Sum> sums;
    Combine<double, Min> minima;
    Combine<double, Max> maxima;
    RL_DEVICE void operator()(int64_t item) const {
        const int64_t count = sums.count;
        if (item < count)
            sums(item);
        else if (item < 2 * count)
            minima.tree != nullptr ? minima(item - count) : void();
        else if (maxima.tree != nullptr)
            maxima(item - 2 * count);
    }
};

// A tree of sums, and of minima and maxima where they are not null.
struct ThreeTrees {
    Batch batch;
    double *sums, *minima, *maxima;
    const double *leaf_value, *floor_value;
    static constexpr int kTrees = 3;
    RL_DEVICE void write(int64_t leaf, int64_t entry) const {
        sums[leaf] = leaf_value[entry];
        if (minima != nullptr) minima[leaf] = floor_value[entry];
        if (maxima != nullptr) maxima[leaf] = leaf_value[entry];
    }
    RL_DEVICE_HOST CombineEach combine(const Levels& levels, int level) const {
        return {OneTree<double, Sum>{batch, sums, nullptr}.combine(levels, level),
                OneTree<double, Min>{batch, minima, nullptr}.combine(levels, level),
                OneTree<double, Max>{batch, maxima, nullptr}.combine(levels, level)};
    }
};

// One warp writes the values of one entry, unless a later entry names the same leaf.
template <typename Target>
struct WriteIfLast {
    Target target;
    RL_DEVICE void operator()(int64_t entry) const {
        const Batch& batch = target.batch;
        const int64_t leaf = batch.index[entry];
        if (!batch.has(leaf)) return;
        for (int64_t first = entry + 1; first < batch.size; first += kLanes) {
            const auto is_same = each_lane(
                [&](int lane) { return first + lane < batch.size && batch.index[first + lane] == leaf; });
            if (bits(is_same) != 0) return;
        }
        once([&] { target.write(leaf, entry); });
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

struct Enter {
    Batch batch;
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

template <typename Target>
struct WriteEntered {
    Target target;
    Table table;
    RL_DEVICE void operator()(int64_t entry) const {
        const int64_t leaf = target.batch.index[entry];
        if (!target.batch.has(leaf)) return;
        uint64_t slot = table.home(leaf);
        while (table.keys[slot] != leaf) slot = (slot + 1) & table.mask();
        if (table.last[slot] == static_cast<int32_t>(entry)) target.write(leaf, entry);
    }
};

// A small batch in one launch: write the leaves, then level after level.
template <typename Target>
struct UpdateInOneBlock {
    Target target;
    Levels levels;
    RL_DEVICE int phases() const { return levels.root + 1; }
    RL_DEVICE int64_t count(int phase) const {
        return phase == 0 ? target.batch.size : Target::kTrees * items(target.batch, levels, phase);
    }
    RL_DEVICE void operator()(int phase, int64_t item) const {
        if (phase == 0)
            WriteIfLast<Target>{target}(item);
        else
            target.combine(levels, phase)(item);
    }
};

// Smallest power of two, as an exponent, that leaves half of a table empty.
int table_bits(int64_t batch) {
    int bits = 1;
    while ((int64_t(1) << bits) < 2 * batch) ++bits;
    return bits;
}

template <typename Target>
void write_leaves(cudaStream_t stream, const Target& target, void* scratch) {
    const Batch& batch = target.batch;
    if (batch.size <= kCompared) {
        for_each_warp(stream, batch.size, WriteIfLast<Target>{target});
        return;
    }
    const int bits = table_bits(batch.size);
    const int64_t slots = int64_t(1) << bits;
    int64_t* keys = static_cast<int64_t*>(scratch);
    const Table table{keys, reinterpret_cast<int32_t*>(keys + slots), bits};
    fill_ones(stream, scratch, slots * kSlotBytes);
    for_each_thread(stream, batch.size, Enter{batch, table});
    for_each_thread(stream, batch.size, WriteEntered<Target>{target, table});
}

template <typename Target>
void combine_levels(cudaStream_t stream, const Target& target, const Levels& levels) {
    for (int level = 1; level <= levels.root; ++level)
        for_each_warp(stream, Target::kTrees * items(target.batch, levels, level), target.combine(levels, level));
}

template <typename Target>
int update(int device, void* stream_pointer, const Target& target, void* scratch) {
    Levels levels;
    const int64_t size = target.batch.size;
    if (!find_levels(target.batch.leaves, &levels) || size < 0 || size > INT32_MAX) return cudaErrorInvalidValue;
    if (size == 0) return cudaSuccess;
    const int selected = select(device);
    if (selected != cudaSuccess) return selected;
    const cudaStream_t stream = static_cast<cudaStream_t>(stream_pointer);
    if (size <= kOneBlock) {
        in_one_block(stream, UpdateInOneBlock<Target>{target, levels});
        return status();
    }
    write_leaves(stream, target, scratch);
    combine_levels(stream, target, levels);
    return status();
}

template <typename scalar_t, typename Op>
int rebuild(int device, void* stream, scalar_t* tree, int64_t leaves) {
    Levels levels;
    if (!find_levels(leaves, &levels)) return cudaErrorInvalidValue;
    const int selected = select(device);
    if (selected != cudaSuccess) return selected;
    const OneTree<scalar_t, Op> all{{leaves, nullptr, leaves}, tree, nullptr};
    combine_levels(static_cast<cudaStream_t>(stream), all, levels);
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
        const rl_cuda::OneTree<scalar_t, rl_cuda::Op> target{{leaves, index, batch}, tree, value};                    \
        return rl_cuda::update(device, stream, target, scratch);                                                      \
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

// The same for three trees with the same leaves in as many launches as for one. `minima` and `maxima` may be null;
// `floor` holds the values for `minima`, `leaf` those for the others.
RL_CUDA_EXPORT int rl_cuda_three_trees_update_f64(int device, void* stream, double* sums, double* minima,
                                                  double* maxima, int64_t leaves, const int64_t* index,
                                                  const double* leaf, const double* floor, int64_t batch,
                                                  void* scratch) {
    const rl_cuda::ThreeTrees target{{leaves, index, batch}, sums, minima, maxima, leaf, floor};
    return rl_cuda::update(device, stream, target, scratch);
}
