/* Native code that allocates from Python's raw domain without the GIL. */
#include <Python.h>

#define BLOCKS 300

void churn(int rounds, unsigned seed)
{
    void *held[BLOCKS];
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            seed = seed * 1664525u + 1013904223u;
            held[i] = PyMem_RawMalloc(1 + (seed >> 8) % 2000);
        }
        for (int i = 0; i < BLOCKS; i += 3) {
            held[i] = PyMem_RawRealloc(held[i], 700);
        }
        for (int i = 0; i < BLOCKS; i++) {
            PyMem_RawFree(held[i]);
        }
    }
}
