/* fork(2) for a child that never gives the GIL up, as nobody there could give it back.

   Whoever waits for the GIL asks its holder for it after a while. If the holder has not seen that
   request when it forks, its copy will, in the child: it gives the GIL up and waits for ever for the
   one who asked. No setting keeps others from asking just then, but here, where the child has not
   yet run anything, the request can be forgotten.

   Everything else of the child is as fork(2) leaves it. os.fork() would clear the states of all other
   threads, and with that run finalizers of the app.                                               */

#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE 1
#include <Python.h>

#include <time.h>
#include <unistd.h>

#if PY_VERSION_HEX >= 0x030E0000
#define LEAKMW_NOT_KNOWN 1  /* where a request stands: that is nobody's but CPython's business */
#elif PY_VERSION_HEX >= 0x030D0000
#include <internal/pycore_ceval.h>
#else
#include <internal/pycore_interp.h>
#endif

/* On 3.11 and 3.12 signals and calls that are pending go with them: they are the parent's. */
static void
forget_requests(PyThreadState *thread)
{
#if defined(LEAKMW_NOT_KNOWN)
    (void)thread;  /* this module does not load */
#elif PY_VERSION_HEX >= 0x030D0000
    _Py_unset_eval_breaker_bit(thread, _PY_GIL_DROP_REQUEST_BIT);
#else
    struct _ceval_state *state = &thread->interp->ceval;
    _Py_atomic_store_relaxed(&state->gil_drop_request, 0);
    _Py_atomic_store_relaxed(&state->eval_breaker, 0);
#endif
}

static double
seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

PyDoc_STRVAR(fork_doc,
"fork(mark)\n--\n\n"
"Call *mark*, then fork, with no other thread in between, and no collection in the child.\n\n"
"Returns:\n"
"    The child, 0 in the child itself, and the seconds for which the process stood still.\n\n"
"Raises:\n"
"    OSError: If there can be none.\n");

static PyObject *
forking_fork(PyObject *Py_UNUSED(module), PyObject *mark)
{
    PyThreadState *thread = PyThreadState_Get();
    PyObject *marked = PyObject_CallNoArgs(mark);
    if (marked == NULL) {
        return NULL;
    }
    Py_DECREF(marked);
    double began = seconds();
    pid_t child = fork();
    double pause = seconds() - began;
    if (child < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (child == 0) {
        forget_requests(thread);
        PyGC_Disable();  /* before anything is allocated there: finalizers are the parent's to run */
    }
    PyObject *result = Py_BuildValue("ld", (long)child, pause);
    if (result == NULL && child == 0) {
        _exit(1);  /* an exception there would be handled by code that takes itself for the parent's */
    }
    return result;
}

static PyMethodDef methods[] = {
    {"fork", forking_fork, METH_O, fork_doc},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *Py_UNUSED(module))
{
#if defined(LEAKMW_NOT_KNOWN) || defined(Py_GIL_DISABLED)
    PyErr_SetString(PyExc_ImportError, "this Python does not say how others ask for the GIL");
    return -1;
#else
    return 0;
#endif
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "leakmw._forking",
    .m_doc = "fork(2) for a child that never gives the GIL up.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__forking(void)
{
    return PyModuleDef_Init(&definition);
}
