// Walk down a sum tree: which leaf a prefix sum falls in, and stratified samples with their importance weights.
//
// One warp walks for one query. At each node it adds up the 32 children, in double precision and always in the same
// order (by doubling: lane i adds lane i - 1, i - 2, i - 4, ...), and goes to the first child with which the sum exceeds
// what is left of the prefix. A child that is not positive is never entered, and where rounding lets the prefix reach
// past the end, the last positive child is. So no leaf of zero is found, and none past the last positive one.

#include <cmath>

#include "tree_layout.cuh"

namespace rl_cuda {
namespace {

template <typename scalar_t>
struct SumTree {
    const scalar_t* tree;
    Levels levels;

    RL_DEVICE double total() const { return tree[levels.start[levels.root]]; }

    // The leaf at prefix sum `rest`; -1 in a tree whose sum is not positive.
    RL_DEVICE int64_t find(double rest) const {
        if (!(total() > 0)) return -1;
        int64_t node = 0;
        for (int level = levels.root - 1; level >= 0; --level) {
            const scalar_t* children = tree + levels.start[level] + node * kFanOut;
            const auto child = each_lane([&](int lane) { return double(children[lane]); });
            auto upto = child;
            for (int offset = 1; offset < kFanOut; offset *= 2) {
                const auto below = from_below(upto, offset);
                upto = each_lane([&](int lane) { return lane >= offset ? upto[lane] + below[lane] : upto[lane]; });
            }
            const uint32_t positive = bits(each_lane([&](int lane) { return child[lane] > 0; }));
            const uint32_t reached = bits(each_lane([&](int lane) { return child[lane] > 0 && upto[lane] > rest; }));
            const int next = reached != 0 ? lowest(reached) : positive != 0 ? highest(positive) : 0;
            const double before = next > 0 ? pick(upto, next - 1) : 0;
            rest = before < rest ? rest - before : 0;
            node = node * kFanOut + next;
        }
        return node;
    }
};

template <typename scalar_t>
struct Find {
    SumTree<scalar_t> tree;
    const double* prefix;
    int64_t* index;
    RL_DEVICE void operator()(int64_t query) const {
        const int64_t leaf = tree.find(prefix[query]);
        once([&] { index[query] = leaf; });
    }
};

template <typename scalar_t>
struct Sample {
    SumTree<scalar_t> tree;
    const double* uniform;
    int64_t count;
    const scalar_t* reference;
    const double* beta;
    int64_t* empty;
    int64_t* index;
    scalar_t* weight;
    RL_DEVICE void operator()(int64_t stratum) const {
        const double total = tree.total();
        const bool is_sum = total > 0 && total < INFINITY;
        const double width = total / double(count);
        const int64_t leaf = is_sum ? tree.find((double(stratum) + uniform[stratum]) * width) : -1;
        once([&] {
            if (!is_sum && stratum == 0 && empty != nullptr) increase(empty);
            index[stratum] = leaf;
            weight[stratum] = scalar_t(leaf < 0 ? NAN : pow(double(*reference) / double(tree.tree[leaf]), *beta));
        });
    }
};

template <typename scalar_t>
int find(int device, void* stream, const scalar_t* tree, int64_t leaves, const double* prefix, int64_t count,
         int64_t* index) {
    SumTree<scalar_t> sums{tree, {}};
    if (!find_levels(leaves, &sums.levels) || count < 0) return cudaErrorInvalidValue;
    const int selected = select(device);
    if (selected != cudaSuccess) return selected;
    for_each_warp(static_cast<cudaStream_t>(stream), count, Find<scalar_t>{sums, prefix, index});
    return status();
}

template <typename scalar_t>
int sample(int device, void* stream, const scalar_t* tree, int64_t leaves, const double* uniform, int64_t count,
           const scalar_t* reference, const double* beta, int64_t* empty, int64_t* index, scalar_t* weight) {
    SumTree<scalar_t> sums{tree, {}};
    if (!find_levels(leaves, &sums.levels) || count < 0) return cudaErrorInvalidValue;
    const int selected = select(device);
    if (selected != cudaSuccess) return selected;
    const Sample<scalar_t> work{sums, uniform, count, reference, beta, empty, index, weight};
    for_each_warp(static_cast<cudaStream_t>(stream), count, work);
    return status();
}

}  // namespace
}  // namespace rl_cuda

// find: index[i] is the leaf at prefix sum prefix[i], -1 in a tree whose sum is not positive.
// sample: the sum is cut into `count` equal strata; index[i] is the leaf at uniform[i], in [0, 1), of stratum i, and
// weight[i] = (*reference / tree[index[i]]) ** *beta, or (-1, NaN) in a tree whose sum is not positive and finite, which
// adds one to *empty; that may be null.
#define RL_CUDA_SUM_TREE(suffix, scalar_t)                                                                            \
    RL_CUDA_EXPORT int rl_cuda_sum_tree_find_##suffix(int device, void* stream, const scalar_t* tree, int64_t leaves, \
                                                      const double* prefix, int64_t count, int64_t* index) {          \
        return rl_cuda::find<scalar_t>(device, stream, tree, leaves, prefix, count, index);                           \
    }                                                                                                                 \
    RL_CUDA_EXPORT int rl_cuda_sum_tree_sample_##suffix(int device, void* stream, const scalar_t* tree,               \
                                                        int64_t leaves, const double* uniform, int64_t count,         \
                                                        const scalar_t* reference, const double* beta,                \
                                                        int64_t* empty, int64_t* index, scalar_t* weight) {           \
        return rl_cuda::sample<scalar_t>(device, stream, tree, leaves, uniform, count, reference, beta, empty, index, \
                                         weight);                                                                     \
    }

RL_CUDA_SUM_TREE(f32, float)
RL_CUDA_SUM_TREE(f64, double)
