// From the priorities of a batch to leaves of the trees, one thread for each entry: (priority + eps) ** alpha, with the
// entries left out that must not count (row -1, which a tree update passes over).

#include <cmath>

#include "lanes.cuh"

namespace rl_cuda {
namespace {

struct Priorities {
    const int64_t* index;
    const double* priority;
    const int64_t* stamp;  // of the writing that was drawn, null for any
    const int64_t* stamps;  // of every row, 0 where there is none
    int64_t capacity;
    double eps, alpha;
    double* entry;    // the largest leaf there ever was
    int64_t* faults;  // counts: bad priorities, rows that cannot be
    int64_t* row;
    double *leaf, *floor;

    RL_DEVICE void operator()(int64_t i) const {
        const double value = priority[i];
        const double own = alpha == 1 ? value + eps : pow(value + eps, alpha);
        const bool is_row = index[i] >= 0 && index[i] < capacity;
        const bool is_number = value >= 0 && value < INFINITY && own < INFINITY;
        if (!is_number) increase(&faults[0]);
        if (!is_row) increase(&faults[1]);
        const int64_t written = is_row ? stamps[index[i]] : 0;
        const bool counts = is_number && is_row && (stamp != nullptr ? written == stamp[i] : written > 0);
        row[i] = counts ? index[i] : -1;
        leaf[i] = own;
        floor[i] = own > 0 ? own : INFINITY;
        if (counts) raise_to(entry, own);
    }
};

}  // namespace
}  // namespace rl_cuda

//   index, priority, stamp  [batch]; stamp may be null: every row that is there counts.
//   stamps                  [capacity]
//   entry, faults           one double, two counters; both are only ever raised.
//   row, leaf, floor        [batch], written: the row or -1, its leaf, and the leaf of a tree of positive minima.
RL_CUDA_EXPORT int rl_cuda_priority_leaves_f64(int device, void* stream, const int64_t* index, const double* priority,
                                               const int64_t* stamp, const int64_t* stamps, int64_t capacity,
                                               double eps, double alpha, int64_t batch, double* entry,
                                               int64_t* faults, int64_t* row, double* leaf, double* floor) {
    const int selected = rl_cuda::select(device);
    if (selected != cudaSuccess) return selected;
    const rl_cuda::Priorities work{index, priority, stamp,  stamps, capacity, eps,
                                   alpha, entry,    faults, row,    leaf,     floor};
    rl_cuda::for_each_thread(static_cast<cudaStream_t>(stream), batch, work);
    return rl_cuda::status();
}
