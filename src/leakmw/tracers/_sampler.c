/* The sampling tracer's hook on Python's allocators.

   Every byte that Python allocates has the same small chance to be chosen: the gaps between chosen
   bytes are exponential, so a block of s bytes is sampled with probability 1 - exp(-s / interval)
   (Poisson sampling by bytes, as tcmalloc and Go do). A sample keeps the interval that it was taken
   at, hence its weight, for as long as its block lives; sums over samples are unbiased
   (Horvitz and Thompson, JASA 47, 1952).

   What keeps the app safe, here where profilers crash:

   - Only PYMEM_DOMAIN_MEM and PYMEM_DOMAIN_OBJ are hooked. Both are called with the GIL held, so
     the GIL is the lock of all state below. The raw domain is not: hooking it would mean to take
     the GIL inside malloc, which deadlocks native code.
   - Inside the hook nothing is allocated from Python, no Python code runs, and no object is
     deallocated: interpreter frames are read where they lie, as tracemalloc does; a reference that
     turns out to be the last one waits in `dropped` for a call from Python. Nothing therefore
     re-enters the hook, releases the GIL, or starts the collector (which Python 3.11 runs inside
     an allocation).
   - All tables are static: there is no allocation to fail, and pages that were never used are
     not resident.
   - Other interpreters of the process may have a GIL of their own. The hook looks whose thread it
     is on before it touches a table, and the module loads in the main one alone.
   - A block that is freed or moved is looked up before the allocator below gets it back, so that
     its address cannot come back to us while it still stands in the table.
   - Hooks are only taken out while they are on top. Below somebody else's they stay, and pass
     everything through. Whether they are still reached is probed: tracemalloc.stop() puts back what
     it found, and with it removes whoever came after it.
   - A sample lies where any other block would: Python's cache of attributes, for one, is keyed by
     addresses, so what lies elsewhere lives longer, and stands for nothing.
   - After fork() the child has a consistent table, as whoever forks a Python process holds the
     GIL. It starts anew from Python.                                                            */

#define PY_SSIZE_T_CLEAN
#ifndef LEAKMW_PUBLIC_FRAMES
#define Py_BUILD_CORE 1
#endif
#include <Python.h>

#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if PY_VERSION_HEX >= 0x030E0000
#define LEAKMW_PUBLIC_FRAMES 1
#endif
#ifndef LEAKMW_PUBLIC_FRAMES
#include <internal/pycore_context.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_pystate.h>
#endif

#define MOST_SAMPLES (1u << 14)
#define SLOTS (2 * MOST_SAMPLES)  /* by which samples are found */
#define MOST_NODES (1u << 16) /* of the tree of tracebacks; 0 is its root */
#define PATHS (1u << 12)      /* tracebacks that are found by a hash of all their frames */
#define FILTER (1u << 17)     /* counters, each for the blocks of some 64-byte steps */
#define MOST_DROPPED (1u << 15)
#define MOST_FRAMES 128
#define LEAST_INTERVAL 512.0
#define MOST_INTERVAL (1024.0 * 1024 * 1024)
#define FIRST_INTERVAL (128.0 * 1024)
#define EARLY_NANOSECONDS 133000000u /* of sampling, for which a process starts with a larger */
#define EARLY_FACTOR 4               /* budget: else a short life would not show a small leak */
#define SAMPLES_BETWEEN_LOOKS 256  /* at the CPU time that sampling has taken */
#define TIMED 8u                   /* one in so many is timed: it takes as long as all else here */
#define MOST_NANOSECONDS 5000u     /* believed of one sample: above, the thread was not running */

typedef struct {
    void *block;       /* NULL: the sample is free */
    size_t size;
    double interval;   /* mean gap in bytes that it was, or would have been, taken at */
    PyObject *visit;   /* owned; NULL outside of visits */
    uint32_t node;     /* innermost frame; of a free sample: the next free one */
    uint32_t birth;    /* window */
} Sample;

typedef struct {
    PyCodeObject *code;  /* owned */
    int lasti;           /* byte offset of the instruction */
    uint32_t parent;     /* the caller */
    uint32_t users;      /* samples, children and readers; 0: the node is free */
    uint32_t next;       /* in its bucket, or of the free nodes */
} Node;

typedef struct {
    uint64_t key;
    uint32_t node;       /* one of its users is this entry */
    bool met;            /* since it was last asked whether to forget it */
} Path;

/* What Python reads: all samples as one string of these. */
typedef struct {
    uint32_t node;
    uint32_t birth;
    uint64_t size;
    double interval;
    uint64_t recyclable;
} Record;

static Sample samples[MOST_SAMPLES + 1];   /* 0 is none */
static uint16_t slots[SLOTS];              /* the sample of a block, 0 for none */
static Node nodes[MOST_NODES];
static uint32_t buckets[MOST_NODES];
static Path paths[PATHS];
static uint8_t filter[FILTER];
static PyObject *dropped[MOST_DROPPED];

static struct {
    PyInterpreterState *interpreter;
    PyObject *variable;            /* context variable of the current visit */
    PyObject *ignored;             /* its value where nothing is to be sampled */
    uint64_t random;
    double interval, least;        /* mean gap now, and the smallest that the tables bear */
    double overhead;               /* share of CPU time to keep to; 0: the interval is fixed */
    double part;                   /* of that share, which is used for now */
    uint64_t spent, cpu_seen, spent_seen;   /* nanoseconds */
    uint64_t taken, thinned, skipped;
    uint32_t live, ever_live, free_sample;          /* samples: how many, and one to be had */
    uint32_t in_use, ever_used, first_free;         /* the same of nodes */
    uint32_t dropped, window, since_look, untimed, beginnings;
    int frames;
    bool active, probing, reached;
} state = {.window = 1};

static const PyMemAllocatorDomain domains[] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};
static PyMemAllocatorEx allocators[2];   /* those below our hooks */

static int64_t gap = INT64_MAX;    /* bytes until the next sample */

/* time and chance */

static uint64_t
nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Return the time if what begins is to be timed, else 0. */
static inline uint64_t
begin_spending(void)
{
    if (++state.untimed < TIMED) {
        return 0;
    }
    state.untimed = 0;
    return nanoseconds(CLOCK_MONOTONIC);
}

/* Count what has passed since *started* for all that were not timed, too. What a sample costs the
   app in caches grown cold shows after it and not within it: benchmarks/overhead.py finds all of it
   to be 2.1 to 3.5 times of what is timed. */
static inline void
spend(uint64_t started)
{
    if (started != 0) {
        uint64_t elapsed = nanoseconds(CLOCK_MONOTONIC) - started;
        state.spent += TIMED * 8 / 3 * (elapsed < MOST_NANOSECONDS ? elapsed : MOST_NANOSECONDS);
    }
}

/* Uniform in (0, 1]: splitmix64 (Steele, Lea and Flood, OOPSLA 2014). */
static double
uniform(void)
{
    uint64_t z = (state.random += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return ((double)((z ^ (z >> 31)) >> 11) + 1.0) * 0x1.0p-53;
}

static void
draw_gap(void)
{
    gap = state.active ? (int64_t)(-log(uniform()) * state.interval) : INT64_MAX;
}

static double
chance(size_t size, double interval)
{
    return -expm1(-(double)size / interval);
}

/* references */

static void
drop(PyObject *object)
{
    if (object == NULL) {
        return;
    }
    if (Py_REFCNT(object) > 1) {
        Py_DECREF(object);
    } else if (state.dropped < MOST_DROPPED) {
        dropped[state.dropped++] = object;
    } /* else it is kept for good, which the limit in sample() makes all but impossible */
}

/* Deallocate what waits for it; called from Python alone. */
static void
bury(void)
{
    while (state.dropped > 0) {
        PyObject *object = dropped[--state.dropped];
        Py_DECREF(object);
    }
}

/* the tree of tracebacks: a node is a frame below the same callers */

static uint32_t
bucket_of(uint32_t parent, PyCodeObject *code, int lasti)
{
    uint64_t key = ((uint64_t)(uintptr_t)code >> 4) * 0x9E3779B97F4A7C15u;
    key ^= ((uint64_t)parent << 32 | (uint32_t)lasti) * 0xC2B2AE3D27D4EB4Fu;
    return (uint32_t)((key ^ (key >> 29)) * 0x9E3779B97F4A7C15u >> 48) % MOST_NODES;
}

/* Return the node of a frame, a new one if need be, with no user added. There is room: whoever finds
   the tree crowded takes no sample. */
static uint32_t
child_of(uint32_t parent, PyCodeObject *code, int lasti)
{
    uint32_t *bucket = &buckets[bucket_of(parent, code, lasti)];
    for (uint32_t i = *bucket; i != 0; i = nodes[i].next) {
        if (nodes[i].code == code && nodes[i].parent == parent && nodes[i].lasti == lasti) {
            return i;
        }
    }
    uint32_t made = state.first_free;
    if (made != 0) {
        state.first_free = nodes[made].next;
    } else {
        made = ++state.ever_used;
    }
    state.in_use++;
    Py_INCREF(code);
    nodes[made] = (Node){code, lasti, parent, 0, *bucket};
    nodes[parent].users++;
    *bucket = made;
    return made;
}

/* Take one user from a node; free it, and callers that only it needed. */
static void
leave(uint32_t node)
{
    while (node != 0 && --nodes[node].users == 0) {
        Node *gone = &nodes[node];
        uint32_t *link = &buckets[bucket_of(gone->parent, gone->code, gone->lasti)];
        while (*link != node) {
            link = &nodes[*link].next;
        }
        *link = gone->next;
        uint32_t parent = gone->parent;
        drop((PyObject *)gone->code);
        gone->code = NULL;
        gone->next = state.first_free;
        state.first_free = node;
        state.in_use--;
        node = parent;
    }
}

typedef struct {
    PyCodeObject *code;
    int lasti;
} Place;

#ifndef LEAKMW_PUBLIC_FRAMES
/* The frames as they lie in the interpreter: nothing is made, counted or kept. */
static int
walk(PyThreadState *thread, Place *places)
{
#if PY_VERSION_HEX >= 0x030D0000
    _PyInterpreterFrame *frame = thread->current_frame;
#else
    _PyInterpreterFrame *frame = thread->cframe->current_frame;
#endif
    int depth = 0;
    for (; frame != NULL && depth < state.frames; frame = frame->previous) {
#if PY_VERSION_HEX >= 0x030C0000
        if (frame->owner == FRAME_OWNED_BY_CSTACK) {
            continue;  /* no frame of Python code */
        }
#endif
        /* to ask that of the callers, too, misses the cache at each, and those that a collection
           has interrupted while they were set up have their code by then */
        if (depth == 0 && _PyFrame_IsIncomplete(frame)) {
            continue;  /* being set up or torn down */
        }
#if PY_VERSION_HEX >= 0x030D0000
        PyCodeObject *code = _PyFrame_GetCode(frame);
#else
        PyCodeObject *code = frame->f_code;
#endif
        places[depth++] = (Place){
            code, _PyInterpreterFrame_LASTI(frame) * (int)sizeof(_Py_CODEUNIT)};
    }
    return depth;
}
#else
/* Public functions only. They make frame objects: `gap` keeps those from being sampled. Their
   frames own them, so that none is deallocated here; the collector does not run inside an
   allocation where this is used. */
static int
walk(PyThreadState *thread, Place *places)
{
    int depth = 0;
    int64_t kept = gap;
    gap = INT64_MAX;
    PyFrameObject *frame = PyThreadState_GetFrame(thread);
    while (frame != NULL && depth < state.frames) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        places[depth++] = (Place){code, PyFrame_GetLasti(frame)};
        Py_DECREF(code);
        PyFrameObject *caller = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = caller;
    }
    Py_XDECREF(frame);
    gap = kept;
    return depth;
}
#endif

/* Return the innermost node of a traceback, with no user added. */
static uint32_t
intern(const Place *places, int depth)
{
    uint32_t node = 0;
    for (int i = depth - 1; i >= 0; i--) {
        node = child_of(node, places[i].code, places[i].lasti);
    }
    return node;
}

static uint64_t
key_of(const Place *places, int depth)
{
    uint64_t key = 0x9E3779B97F4A7C15u;
    for (int i = 0; i < depth; i++) {
        key ^= (uint64_t)(uintptr_t)places[i].code + (uint64_t)places[i].lasti;
        key *= 0xC2B2AE3D27D4EB4Fu;
        key ^= key >> 32;
    }
    return key;
}

/* Few tracebacks make most of the allocations, and to follow one down the tree misses the cache at
   each frame. So those met lately are found by 64 bits of hash; the nodes keep their code objects,
   whose addresses are therefore nobody else's. */
static uint32_t
traceback_of(PyThreadState *thread)
{
    Place places[MOST_FRAMES];
    int depth = walk(thread, places);
    uint64_t key = key_of(places, depth);
    Path *path = &paths[key % PATHS];
    if (path->key != key) {
        uint32_t node = intern(places, depth);
        nodes[node].users++;
        leave(path->node);
        *path = (Path){key, node, false};
    }
    path->met = true;
    return path->node;
}

/* Forget the tracebacks that were not met since the last call, and need not be kept. */
static void
forget(void)
{
    for (Path *path = paths; path < paths + PATHS; path++) {
        if (path->node != 0 && !path->met) {
            leave(path->node);
            *path = (Path){0};
        }
        path->met = false;
    }
}

/* The table of samples. They are found by linear probing, without tombstones, in a table of small
   numbers: what is asked for at random stays in cache, and so do the samples last freed, which are
   the next to be used. */

static inline uint8_t *
counter_of(void *block)
{
    /* not hashed: what is freed lies where much was freed before, so the counters are in cache; one
       serves 64 bytes, so that they leave the cache to the app */
    return &filter[((uintptr_t)block >> 6) % FILTER];
}

static uint32_t
slot_of(void *block)
{
    return (uint32_t)(((uint64_t)(uintptr_t)block >> 4) * 0x9E3779B97F4A7C15u >> 49);
}

/* Return the slot of a block's sample, or the free one where it would be. */
static uint32_t
find_slot(void *block)
{
    uint32_t i = slot_of(block);
    while (slots[i] != 0 && samples[slots[i]].block != block) {
        i = (i + 1) % SLOTS;
    }
    return i;
}

static void
take_out(uint32_t i)
{
    uint16_t number = slots[i];
    Sample gone = samples[number];
    uint8_t *counter = counter_of(gone.block);
    if (*counter < UINT8_MAX) {
        --*counter;  /* a full one has lost count, and stays */
    }
    for (uint32_t j = (i + 1) % SLOTS; slots[j] != 0; j = (j + 1) % SLOTS) {
        uint32_t wanted = slot_of(samples[slots[j]].block);
        if ((j - wanted) % SLOTS >= (j - i) % SLOTS) {
            slots[i] = slots[j];
            i = j;
        }
    }
    slots[i] = 0;
    samples[number] = (Sample){.node = state.free_sample};
    state.free_sample = number;
    state.live--;
    leave(gone.node);
    drop(gone.visit);
}

/* There is room: whoever finds the table crowded takes no sample. */
static void
insert(Sample sample)
{
    uint32_t i = find_slot(sample.block);
    if (slots[i] != 0) {
        take_out(i);  /* a hook that was not reached for a while has not seen that block freed */
        i = find_slot(sample.block);
    }
    uint32_t number = state.free_sample;
    if (number != 0) {
        state.free_sample = samples[number].node;
    } else {
        number = ++state.ever_live;
    }
    samples[number] = sample;
    slots[i] = (uint16_t)number;
    nodes[sample.node].users++;
    state.live++;
    uint8_t *counter = counter_of(sample.block);
    if (*counter < UINT8_MAX) {
        ++*counter;
    }
}

/* Keep each sample with the chance that it would have had at the new interval. */
static void
thin(double interval)
{
    for (Sample *one = samples + 1; one <= samples + state.ever_live; one++) {
        if (one->block != NULL && one->interval < interval) {
            double keep = chance(one->size, interval) / chance(one->size, one->interval);
            one->interval = interval;
            if (uniform() >= keep) {
                take_out(find_slot(one->block));
                state.thinned++;
            }
        }
    }
    state.interval = state.least = interval;
}

static bool
is_crowded(void)
{
    return state.live >= MOST_SAMPLES || state.in_use + MOST_FRAMES >= MOST_NODES;
}

/* Move the interval so that sampling takes its share of the CPU time, and no more. */
static void
look_at_cost(void)
{
    uint64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    double share = (double)(state.spent - state.spent_seen) / (double)(cpu - state.cpu_seen + 1);
    state.cpu_seen = cpu;
    state.spent_seen = state.spent;
    if (state.live < MOST_SAMPLES / 4 && state.least > LEAST_INTERVAL) {
        state.least /= 2;
    }
    /* by its root: a look at few samples says little, and samples of unlike weight say less */
    double budget = state.overhead * (state.spent < EARLY_NANOSECONDS ? EARLY_FACTOR : state.part);
    double factor = sqrt(share / budget);
    factor = factor < 0.5 ? 0.5 : factor > 2 ? 2 : factor;
    double interval = state.interval * factor;
    interval = interval < state.least ? state.least : interval;
    state.interval = interval < MOST_INTERVAL ? interval : MOST_INTERVAL;
}

/* PyContextVar_Get keeps what it found in the variable. Here that would be wrong: we may stand in
   the middle of a set() or reset() of this very variable, which has emptied that place and counts
   on it. Public API cannot put it back; there the variable must only ever be set(), never reset(),
   as set() ends by filling it. */
static int
look_up(PyObject **value)
{
#ifdef LEAKMW_PUBLIC_FRAMES
    return PyContextVar_Get(state.variable, Py_None, value);
#else
    PyContextVar *variable = (PyContextVar *)state.variable;
    PyContextVar before = *variable;
    int result = PyContextVar_Get(state.variable, Py_None, value);
    variable->var_cached = before.var_cached;
    variable->var_cached_tsid = before.var_cached_tsid;
    variable->var_cached_tsver = before.var_cached_tsver;
    return result;
#endif
}

/* Return the current visit as a new reference, NULL for none; say whether to sample at all. */
static bool
current_visit(PyObject **visit)
{
    *visit = NULL;
    if (look_up(visit) < 0) {
        return false;  /* that takes a variable whose hash fails: there is none */
    }
    if (*visit == Py_None || *visit == state.ignored) {
        bool wanted = *visit == Py_None;
        Py_CLEAR(*visit);  /* both live on */
        return wanted;
    }
    return true;
}

static bool
is_finalizing(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing();
#else
    return _Py_IsFinalizing();
#endif
}

/* The thread that allocates, if it is one of our interpreter's. */
static PyThreadState *
our_thread(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyThreadState *thread = PyThreadState_GetUnchecked();
#else
    PyThreadState *thread = _PyThreadState_UncheckedGet();
#endif
    if (thread == NULL || PyThreadState_GetInterpreter(thread) != state.interpreter) {
        return NULL;
    }
    return is_finalizing() ? NULL : thread;
}

static void
sample(PyThreadState *thread, void *block, size_t size, uint32_t birth)
{
    __builtin_prefetch(&slots[slot_of(block)]);  /* it is needed once all frames are walked */
    PyObject *visit;
    if (!current_visit(&visit)) {
        return;
    }
    double interval = state.interval;
    if (is_crowded()) {
        forget();
    }
    while (is_crowded() && state.live > 0 && state.interval < MOST_INTERVAL) {
        thin(state.interval * 2);
        forget();
    }
    /* a reader may hold the nodes still, however coarse the interval is; and each sample may drop
       its visit some day, while nobody has read for long */
    if (is_crowded() || state.dropped >= MOST_DROPPED - MOST_SAMPLES) {
        state.skipped++;
        drop(visit);
        return;
    }
    if (interval != state.interval &&
        uniform() * chance(size, interval) >= chance(size, state.interval)) {
        drop(visit);
        return;  /* at the new interval it would not have been chosen */
    }
    uint32_t node = traceback_of(thread);
    insert((Sample){block, size, state.interval, visit, node, birth});
    state.taken++;
}

/* Sample a block that a chosen byte lies in, and return it. */
static void *Py_NO_INLINE
chosen(void *block, size_t size, uint32_t birth)
{
    if (state.probing) {
        state.reached = true;
        return block;
    }
    PyThreadState *thread = state.active ? our_thread() : NULL;
    if (thread != NULL && block != NULL) {
        uint64_t started = begin_spending();
        sample(thread, block, size, birth);
        spend(started);
        if (state.overhead > 0 && ++state.since_look >= SAMPLES_BETWEEN_LOOKS) {
            state.since_look = 0;
            look_at_cost();
        }
    }
    draw_gap();
    return block;
}

/* Return the window in which a block was born that goes, this one if nobody knows. */
static uint32_t Py_NO_INLINE
released(void *block)
{
    uint32_t birth = state.window;
    if (our_thread() == NULL) {
        return birth;
    }
    uint32_t i = find_slot(block);
    if (slots[i] != 0) {
        uint64_t started = begin_spending();
        birth = samples[slots[i]].birth;
        take_out(i);
        spend(started);
    }
    return birth;
}

/* The hooks. The usual case ends in a jump to the allocator below: it costs but few instructions. */

static inline bool
is_chosen(size_t size)
{
    return __builtin_expect((gap -= (int64_t)size) < 0, 0);
}

static void *
hook_malloc(void *below, size_t size)
{
    PyMemAllocatorEx *allocator = below;
    if (is_chosen(size)) {
        return chosen(allocator->malloc(allocator->ctx, size), size, state.window);
    }
    return allocator->malloc(allocator->ctx, size);
}

static void *
hook_calloc(void *below, size_t count, size_t size)
{
    PyMemAllocatorEx *allocator = below;
    if (is_chosen(count * size)) {
        void *block = allocator->calloc(allocator->ctx, count, size);
        return chosen(block, count * size, state.window);
    }
    return allocator->calloc(allocator->ctx, count, size);
}

/* Move a block that is sampled, or is to be. */
static void *Py_NO_INLINE
realloc_sampled(PyMemAllocatorEx *allocator, void *old, size_t size, bool chosen_now)
{
    void *block = allocator->realloc(allocator->ctx, old, size);
    /* a failed one leaves the old block as it was; the GIL is held, so nobody else has got it. What
       grows is as old as it was: else a buffer that grows at each request would never get older */
    uint32_t birth = block != NULL && old != NULL ? released(old) : state.window;
    return chosen_now ? chosen(block, size, birth) : block;
}

static void *
hook_realloc(void *below, void *old, size_t size)
{
    PyMemAllocatorEx *allocator = below;
    bool chosen_now = is_chosen(size);
    if (__builtin_expect(chosen_now || *counter_of(old), 0)) {
        return realloc_sampled(allocator, old, size, chosen_now);
    }
    return allocator->realloc(allocator->ctx, old, size);
}

static void Py_NO_INLINE
free_sampled(PyMemAllocatorEx *allocator, void *block)
{
    released(block);
    allocator->free(allocator->ctx, block);
}

static void
hook_free(void *below, void *block)
{
    PyMemAllocatorEx *allocator = below;
    if (__builtin_expect(*counter_of(block), 0)) {
        free_sampled(allocator, block);
    } else {
        allocator->free(allocator->ctx, block);
    }
}

/* Say whether allocations of a domain come to us, from the top or from below another tool. */
static bool
is_reached(int i)
{
    int64_t kept = gap;
    state.probing = true;
    state.reached = false;
    gap = 0;
    void *block = i ? PyObject_Malloc(1) : PyMem_Malloc(1);
    i ? PyObject_Free(block) : PyMem_Free(block);
    state.probing = false;
    gap = kept;
    return state.reached;
}

static void
hook(int i)
{
    if (!is_reached(i)) {
        PyMem_GetAllocator(domains[i], &allocators[i]);
        PyMemAllocatorEx ours = {
            &allocators[i], hook_malloc, hook_calloc, hook_realloc, hook_free};
        PyMem_SetAllocator(domains[i], &ours);
    }
}

static void
unhook(int i)
{
    PyMemAllocatorEx top;
    PyMem_GetAllocator(domains[i], &top);
    if (top.malloc == hook_malloc) {
        PyMem_SetAllocator(domains[i], &allocators[i]);
    }
}

static void
clear(void)
{
    const uint32_t beginning = state.beginnings;
    for (Sample *one = samples + 1; one <= samples + state.ever_live; one++) {
        if (one->block != NULL) {
            take_out(find_slot(one->block));
        }
        if (state.dropped > MOST_DROPPED / 2) {
            bury();
        }
        if (state.beginnings != beginning) {
            break;  /* a finalizer has begun anew: what was there before is gone */
        }
    }
    if (state.live == 0) {  /* else somebody has begun anew in the middle of this */
        memset(filter, 0, sizeof(filter));
    }
    forget();
    forget();
    bury();
}

/* what the interpreter recycles */

#define GC_HEAD (2 * sizeof(uintptr_t))

/* Say whether a block is one of those that are put aside when they die, to be handed out again
   without anybody's being asked. The block is live, so it can be read. */
static bool
is_recyclable(const Sample *one)
{
    /* the keys of a small dict: a count of 1, logarithms of their sizes, and that all are strings */
    static const uint8_t keys[] = {1, 0, 0, 0, 0, 0, 0, 0, 3, 3, 1};
    const PyObject *plain = one->block;
    const PyObject *collected = (const PyObject *)((const char *)one->block + GC_HEAD);
    const size_t tuple = GC_HEAD + offsetof(PyTupleObject, ob_item);
    switch (one->size) {
    case sizeof(PyFloatObject):
        return Py_IS_TYPE(plain, &PyFloat_Type);
    case GC_HEAD + sizeof(PyListObject):
        if (Py_IS_TYPE(collected, &PyList_Type)) {
            return true;
        }
        break;
    case GC_HEAD + sizeof(PyDictObject):
        if (Py_IS_TYPE(collected, &PyDict_Type)) {
            return true;
        }
        break;
    case 120:
        if (memcmp(one->block, keys, sizeof(keys)) == 0) {
            return true;
        }
    }
    return one->size > tuple && one->size < tuple + 20 * sizeof(PyObject *) &&
           Py_IS_TYPE(collected, &PyTuple_Type);
}

/* for Python */

PyDoc_STRVAR(start_doc,
"start(variable, ignored, frames, overhead, interval, seed)\n--\n\n"
"Begin sampling anew: what was sampled before is forgotten.\n\n"
"Args:\n"
"    variable: Context variable that holds the current visit.\n\n"
"    ignored: Its value where nothing is to be sampled.\n\n"
"    frames: Deepest traceback kept, at most 128.\n\n"
"    overhead: Share of CPU time to keep to by moving the interval; 0 leaves it as it is.\n\n"
"    interval: Mean gap in bytes to begin with.\n\n"
"    seed: Of the gaps.\n");

static PyObject *
sampler_start(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *variable, *ignored;
    int frames;
    double overhead, interval;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "O!OiddK", &PyContextVar_Type, &variable, &ignored, &frames,
                          &overhead, &interval, &seed)) {
        return NULL;
    }
    state.active = false;
    gap = INT64_MAX;
    state.beginnings++;
    clear();
    state.interpreter = PyInterpreterState_Main();
    Py_XSETREF(state.variable, Py_NewRef(variable));
    Py_XSETREF(state.ignored, Py_NewRef(ignored));
    state.frames = frames < 1 ? 1 : frames > MOST_FRAMES ? MOST_FRAMES : frames;
    state.overhead = overhead;
    state.part = 1;
    state.interval = interval;
    state.least = LEAST_INTERVAL;
    state.random = seed;
    state.since_look = 0;
    state.cpu_seen = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    state.spent_seen = state.spent;
    hook(0);
    hook(1);
    state.active = true;
    draw_gap();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(stop_doc,
"stop()\n--\n\n"
"End sampling and forget all samples. Hooks below somebody else's stay and do nothing.\n");

static PyObject *
sampler_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    state.active = false;
    gap = INT64_MAX;
    clear();
    unhook(0);
    unhook(1);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(ease_doc,
"ease(part)\n--\n\n"
"Use so much of the share of CPU time, above 0 and at most 1, until told otherwise or begun anew.\n");

static PyObject *
sampler_ease(PyObject *Py_UNUSED(module), PyObject *part)
{
    double value = PyFloat_AsDouble(part);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (!(value > 0 && value <= 1)) {
        PyErr_Format(PyExc_ValueError, "a part is above 0 and at most 1, and not %R", part);
        return NULL;
    }
    state.part = value;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(read_doc,
"read()\n--\n\n"
"Return all samples and begin a new window of births.\n\n"
"Returns:\n"
"    A string of records of 32 bytes in native order: node and birth (uint32), size (uint64) and\n"
"    interval (double), and whether Python recycles such objects, so that it may be somebody\n"
"    else's by now (uint64); and the visit of each, or None. The nodes stay until release().\n");

static PyObject *
sampler_read(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    bury();
    /* what a hook that is reached no more has not seen freed must not be looked at */
    bool all_live = is_reached(0) && is_reached(1);
    int64_t kept = gap;
    gap = INT64_MAX;  /* no sample comes meanwhile */
    uint32_t count = state.live;
    PyObject *visits = PyTuple_New(count);
    while (visits != NULL && count != state.live) {
        count = state.live;  /* the collector has run in there (3.11), and freed some */
        Py_SETREF(visits, PyTuple_New(count));
    }
    /* no place for the collector */
    PyObject *records = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * sizeof(Record)));
    gap = kept;
    if (records == NULL || visits == NULL) {
        Py_XDECREF(records);
        Py_XDECREF(visits);
        return PyErr_NoMemory();
    }
    Record *record = (Record *)PyBytes_AS_STRING(records);
    Py_ssize_t number = 0;
    for (Sample *one = samples + 1; one <= samples + state.ever_live; one++) {
        if (one->block == NULL) {
            continue;
        }
        *record++ = (Record){
            one->node, one->birth, one->size, one->interval, all_live && is_recyclable(one)};
        nodes[one->node].users++;
        PyObject *visit = one->visit == NULL ? Py_None : one->visit;
        PyTuple_SET_ITEM(visits, number++, Py_NewRef(visit));
    }
    state.window++;
    return Py_BuildValue("(NN)", records, visits);
}

PyDoc_STRVAR(release_doc,
"release(records)\n--\n\n"
"Give back the nodes that read() holds for *records*, once.\n");

static PyObject *
sampler_release(PyObject *Py_UNUSED(module), PyObject *records)
{
    char *text;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(records, &text, &length) < 0) {
        return NULL;
    }
    for (Record *one = (Record *)text; (char *)one < text + length; one++) {
        leave(one->node);
    }
    forget();
    bury();
    Py_RETURN_NONE;
}

PyDoc_STRVAR(frame_doc,
"frame(node)\n--\n\n"
"Return the node of the caller, 0 for none, and file, line and qualified name of the frame.\n");

static PyObject *
sampler_frame(PyObject *Py_UNUSED(module), PyObject *number)
{
    unsigned long node = PyLong_AsUnsignedLong(number);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (node == 0 || node >= MOST_NODES || nodes[node].code == NULL) {
        PyErr_SetString(PyExc_LookupError, "no such node");
        return NULL;
    }
    Node *one = &nodes[node];
    int line = PyCode_Addr2Line(one->code, one->lasti);
    return Py_BuildValue("IOiO", one->parent, one->code->co_filename, line,
                         one->code->co_qualname);
}

PyDoc_STRVAR(find_doc,
"find(block)\n--\n\n"
"Return node, birth and visit of the sample of the block at an address, None if it is none.\n");

static PyObject *
sampler_find(PyObject *Py_UNUSED(module), PyObject *address)
{
    void *block = PyLong_AsVoidPtr(address);
    if (block == NULL && PyErr_Occurred()) {
        return NULL;
    }
    uint32_t i = *counter_of(block) ? slots[find_slot(block)] : 0;
    if (i == 0) {
        Py_RETURN_NONE;
    }
    Sample one = samples[i];  /* it may go while its answer is made */
    PyObject *visit = Py_NewRef(one.visit == NULL ? Py_None : one.visit);
    return Py_BuildValue("IIN", one.node, one.birth, visit);
}

/* Where the block of an object begins: the collector's header, and the pointers to attributes and
   weak references, stand before it. */
static void *
block_of(PyObject *object)
{
    size_t before = PyObject_IS_GC(object) ? GC_HEAD : 0;
#ifdef Py_TPFLAGS_PREHEADER
    const unsigned long pointers = Py_TPFLAGS_PREHEADER;
#else
    const unsigned long pointers = Py_TPFLAGS_MANAGED_DICT;
#endif
    if (Py_TYPE(object)->tp_flags & pointers) {
        before += 2 * sizeof(PyObject *);
    }
    return (char *)object - before;
}

/* The node is held meanwhile: what is made here may be sampled, and that may thin the table. */
static PyObject *
frames_of(uint32_t node)
{
    nodes[node].users++;
    PyObject *frames = PyList_New(0);
    for (uint32_t i = node; frames != NULL && i != 0; i = nodes[i].parent) {
        PyCodeObject *code = nodes[i].code;
        PyObject *frame = Py_BuildValue("(OiO)", code->co_filename,
                                        PyCode_Addr2Line(code, nodes[i].lasti), code->co_qualname);
        if (frame == NULL || PyList_Append(frames, frame) < 0) {
            Py_CLEAR(frames);
        }
        Py_XDECREF(frame);
    }
    leave(node);
    return frames;
}

PyDoc_STRVAR(birth_doc,
"birth(object)\n--\n\n"
"Return file, line and qualified name of the frames in which an object was born, innermost first.\n\n"
"Returns:\n"
"    None if it was not sampled, or may have been somebody else's when it was.\n");

static PyObject *
sampler_birth(PyObject *Py_UNUSED(module), PyObject *object)
{
    const Sample *one = &samples[slots[find_slot(block_of(object))]];
    if (one->node == 0 || is_recyclable(one)) {
        Py_RETURN_NONE;
    }
    return frames_of(one->node);
}

PyDoc_STRVAR(figures_doc,
"figures()\n--\n\n"
"Return figures by name: whether allocations reach the hook (``reached``), the mean gap in bytes\n"
"(``interval``), the ``part`` of the budget in use, samples ``live``, ``taken``, ``thinned`` and\n"
"``skipped``, ``nodes`` in use, CPU ``seconds`` spent and static ``bytes``.\n");

static PyObject *
sampler_figures(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    Py_ssize_t bytes = sizeof(samples) + sizeof(slots) + sizeof(nodes) + sizeof(buckets) +
                       sizeof(paths) + sizeof(filter) + sizeof(dropped);
    return Py_BuildValue(
        "{s:O,s:d,s:d,s:I,s:K,s:K,s:K,s:I,s:d,s:n}",
        "reached", state.active && is_reached(0) && is_reached(1) ? Py_True : Py_False,
        "interval", state.interval, "part", state.part, "live", state.live,
        "taken", (unsigned long long)state.taken, "thinned", (unsigned long long)state.thinned,
        "skipped", (unsigned long long)state.skipped, "nodes", state.in_use,
        "seconds", (double)state.spent * 1e-9, "bytes", bytes);
}

/* Python tells of its pools only while nobody stands before its allocator of small objects. So for
   that moment, in which the GIL is held and nothing is allocated, the allocator that was found when
   this module was loaded is put back. In 3.11 to 3.13 no API gives it later.                      */

static struct {
    PyMemAllocatorEx allocator;
    int (*tell)(FILE *);   /* NULL where this Python has no pools, or nobody can ask for them */
} pools;

static int
tell_pools(char **text, size_t *size)
{
    FILE *out = open_memstream(text, size);
    if (out == NULL) {
        return 0;
    }
    PyMemAllocatorEx standing;
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &standing);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &pools.allocator);
    int told = pools.tell(out);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &standing);
    fclose(out);
    return told;
}

static void
find_pools(void)
{
    char *text = NULL;
    size_t size;
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &pools.allocator);
    *(void **)&pools.tell = dlsym(RTLD_DEFAULT, "_PyObject_DebugMallocStats");
    if (pools.tell != NULL && !tell_pools(&text, &size)) {
        pools.tell = NULL;
    }
    free(text);
}

PyDoc_STRVAR(pools_doc,
"pools()\n--\n\n"
"Return what sys._debugmallocstats() prints of Python's own allocator, None where nobody tells.\n");

static PyObject *
sampler_pools(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    char *text = NULL;
    size_t size = 0;
    if (pools.tell == NULL || !tell_pools(&text, &size)) {
        free(text);
        Py_RETURN_NONE;
    }
    PyObject *told = PyBytes_FromStringAndSize(text, (Py_ssize_t)size);
    free(text);
    return told;
}

static PyMethodDef methods[] = {
    {"start", sampler_start, METH_VARARGS, start_doc},
    {"stop", sampler_stop, METH_NOARGS, stop_doc},
    {"ease", sampler_ease, METH_O, ease_doc},
    {"read", sampler_read, METH_NOARGS, read_doc},
    {"release", sampler_release, METH_O, release_doc},
    {"frame", sampler_frame, METH_O, frame_doc},
    {"find", sampler_find, METH_O, find_doc},
    {"birth", sampler_birth, METH_O, birth_doc},
    {"figures", sampler_figures, METH_NOARGS, figures_doc},
    {"pools", sampler_pools, METH_NOARGS, pools_doc},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
#ifdef Py_GIL_DISABLED
    PyErr_SetString(PyExc_ImportError, "sampling needs the GIL, which this Python is built without");
    return -1;
#endif
    /* not all are held to the slot below: those that mod_wsgi makes load what they like */
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError,
                        "sampling works in the main interpreter only, and this is another one");
        return -1;
    }
#ifdef LEAKMW_PUBLIC_FRAMES
    const int public_frames = 1;
#else
    const int public_frames = 0;
#endif
    find_pools();
    if (PyModule_AddIntConstant(module, "PUBLIC_FRAMES", public_frames) < 0) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "MOST_SAMPLES", MOST_SAMPLES);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "leakmw.tracers._sampler",
    .m_doc = "The hook of the sampling tracer on Python's allocators.",
    .m_methods = methods,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__sampler(void)
{
    return PyModuleDef_Init(&definition);
}
