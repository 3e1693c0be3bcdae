/* What the collector's own module cannot tell: how long collections take, and in whose visits.

   `collected` stands in gc.callbacks. It is in C because a callback in Python would be no guest there:
   the interpreter looks for signals while it runs, and what a handler of the app raises just then
   (KeyboardInterrupt, or a server's SystemExit) would be lost in the collector, which lets no
   callback raise. It would also be ten times slower, and let other threads in.

   - It is called with the GIL held, and never gives it up: the GIL is its only lock. CPython
     begins no collection in the middle of another, so it is never entered twice.
   - It runs no Python code, takes no lock, raises nothing, and allocates nothing. Python 3.11 calls
     it in the middle of an allocation, on whatever thread that is.
   - It asks for the current visit. Python 3.11 may be in the middle of a set() of that very variable,
     which ends by putting right what the look leaves behind; a reset() would not. So the variable
     must only ever be set().
   - A visit has no name yet while it runs. Its collections wait in a table of visits until it has,
     and move to the table of endpoints when the first is full or read. What is kept of a visit is a
     reference to leakmw's own record of it.
   - The tables are static and have their caps: past them, `other` and `unnamed` count.            */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define GENERATIONS 3
#define VISITS (1u << 10)     /* slots, at most half of them in use */
#define ENDPOINTS (1u << 11)

typedef struct {
    uint64_t count, nanoseconds, longest, collected, uncollectable;
} Sum;

typedef struct {
    PyObject *owner;          /* owned: a visit or an endpoint's tally; NULL: the slot is free */
    Sum sums[GENERATIONS];
} Account;

typedef struct {
    Account *slots;
    uint32_t size, used;
} Table;

static Account visit_slots[VISITS], endpoint_slots[ENDPOINTS], kept[VISITS / 2];
static Table visits = {visit_slots, VISITS, 0}, endpoints = {endpoint_slots, ENDPOINTS, 0};

static struct {
    PyObject *variable;       /* context variable of the current visit; NULL: nobody follows it */
    PyObject *ignored;        /* its value on leakmw's own thread, which is no visit */
    uint64_t started;         /* nanoseconds; 0: no collection is under way */
    Sum totals[GENERATIONS];
    Account outside, unnamed, other;
    bool settling;
} state;

static PyObject *generation_key, *collected_key, *uncollectable_key, *endpoint_key;

static uint64_t
nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* accounts */

static void
add(Sum *sum, const Sum *more)
{
    sum->count += more->count;
    sum->nanoseconds += more->nanoseconds;
    sum->longest = sum->longest > more->longest ? sum->longest : more->longest;
    sum->collected += more->collected;
    sum->uncollectable += more->uncollectable;
}

static void
add_all(Account *account, const Account *more)
{
    for (int i = 0; i < GENERATIONS; i++) {
        add(&account->sums[i], &more->sums[i]);
    }
}

/* Return the account of *owner*, a new one if there is room, else NULL. */
static Account *
account_of(Table *table, PyObject *owner)
{
    uint64_t hash = ((uint64_t)(uintptr_t)owner >> 4) * 0x9E3779B97F4A7C15u;
    uint32_t i = (uint32_t)(hash >> 32) % table->size;
    while (table->slots[i].owner != NULL && table->slots[i].owner != owner) {
        i = (i + 1) % table->size;
    }
    Account *account = &table->slots[i];
    if (account->owner == NULL) {
        if (table->used >= table->size / 2) {
            return NULL;
        }
        table->used++;
        account->owner = Py_NewRef(owner);
    }
    return account;
}

/* A reference that goes here may be the last one to a record of leakmw's own: no code of the app
   hangs on it. */
static void
clear(Table *table)
{
    table->used = 0;
    for (uint32_t i = 0; i < table->size; i++) {
        PyObject *owner = table->slots[i].owner;
        if (owner != NULL) {
            table->slots[i] = (Account){0};
            Py_DECREF(owner);
        }
    }
}

/* Move what visits have that are named by now to their endpoints; keep the others. */
static void
settle(void)
{
    uint32_t left = 0;
    state.settling = true;
    for (uint32_t i = 0; i < visits.size; i++) {
        Account *visit = &visits.slots[i];
        if (visit->owner == NULL) {
            continue;
        }
        PyObject *endpoint = PyObject_GetAttr(visit->owner, endpoint_key);
        if (endpoint == NULL) {
            PyErr_Clear();
        }
        if (endpoint == NULL || endpoint == Py_None) {
            kept[left] = *visit;
            Py_INCREF(kept[left].owner);
            left++;
        } else {
            Account *account = account_of(&endpoints, endpoint);
            add_all(account == NULL ? &state.other : account, visit);
        }
        Py_XDECREF(endpoint);
    }
    clear(&visits);
    bool crowded = left > visits.size / 4;
    for (uint32_t i = 0; i < left; i++) {
        add_all(crowded ? &state.unnamed : account_of(&visits, kept[i].owner), &kept[i]);
        Py_DECREF(kept[i].owner);
    }
    state.settling = false;
}

/* Return whose collection it is that ends now. */
static Account *
current_account(void)
{
    PyObject *visit = NULL;
    if (state.settling) {
        return &state.unnamed;  /* an odd visit made it allocate: the tables are not in order */
    }
    if (PyContextVar_Get(state.variable, Py_None, &visit) < 0) {
        PyErr_Clear();
        return &state.unnamed;
    }
    Account *account = &state.outside;
    if (visit != Py_None && visit != state.ignored) {
        account = account_of(&visits, visit);
        if (account == NULL) {
            settle();
            account = account_of(&visits, visit);
        }
    }
    Py_DECREF(visit);  /* whoever holds it in the context still does */
    return account;
}

/* the callback */

static uint64_t
figure(PyObject *info, PyObject *key)
{
    PyObject *number = PyDict_GetItemWithError(info, key);
    long long value = number == NULL ? -1 : PyLong_AsLongLong(number);
    if (PyErr_Occurred()) {
        PyErr_Clear();
    }
    return value < 0 ? 0 : (uint64_t)value;
}

static void
count(PyObject *info)
{
    uint64_t elapsed = nanoseconds() - state.started;
    state.started = 0;
    uint64_t generation = figure(info, generation_key);
    if (generation >= GENERATIONS) {
        return;
    }
    Sum one = {1, elapsed, elapsed, figure(info, collected_key), figure(info, uncollectable_key)};
    add(&state.totals[generation], &one);
    if (state.variable != NULL) {
        add(&current_account()->sums[generation], &one);
    }
}

PyDoc_STRVAR(collected_doc,
"collected(phase, info)\n--\n\n"
"Count a collection: made to stand in ``gc.callbacks``.\n");

static PyObject *
collector_collected(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t number)
{
    if (number == 2 && PyUnicode_CheckExact(args[0]) && PyDict_CheckExact(args[1])) {
        if (PyUnicode_CompareWithASCIIString(args[0], "start") == 0) {
            state.started = nanoseconds();
        } else if (state.started != 0) {
            count(args[1]);
        }
    }
    Py_RETURN_NONE;
}

/* for Python */

static void
forget(void)
{
    clear(&visits);
    clear(&endpoints);
    Py_CLEAR(state.variable);
    Py_CLEAR(state.ignored);
    memset(&state, 0, sizeof(state));
}

PyDoc_STRVAR(watch_doc,
"watch(variable, ignored)\n--\n\n"
"Begin to count anew.\n\n"
"Args:\n"
"    variable: Context variable that holds the current visit, or None if none is followed.\n\n"
"    ignored: Its value on leakmw's own thread.\n\n"
"Raises:\n"
"    RuntimeError: In another interpreter than the main one.\n");

static PyObject *
collector_watch(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *variable, *ignored;
    if (!PyArg_ParseTuple(args, "OO", &variable, &ignored)) {
        return NULL;
    }
    if (variable != Py_None && !PyContextVar_CheckExact(variable)) {
        PyErr_SetString(PyExc_TypeError, "a context variable or None is wanted");
        return NULL;
    }
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "collections are counted in the main interpreter only");
        return NULL;
    }
    forget();
    if (variable != Py_None) {
        state.variable = Py_NewRef(variable);
        state.ignored = Py_NewRef(ignored);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(unwatch_doc,
"unwatch()\n--\n\n"
"Forget everything; take ``collected`` out of ``gc.callbacks`` before.\n");

static PyObject *
collector_unwatch(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    forget();
    Py_RETURN_NONE;
}

static PyObject *
sums_of(const Sum *sums)
{
    PyObject *result = PyTuple_New(GENERATIONS);
    for (int i = 0; result != NULL && i < GENERATIONS; i++) {
        const Sum *sum = &sums[i];
        PyObject *one = Py_BuildValue(
            "(KddKK)", (unsigned long long)sum->count, (double)sum->nanoseconds * 1e-9,
            (double)sum->longest * 1e-9, (unsigned long long)sum->collected,
            (unsigned long long)sum->uncollectable);
        if (one == NULL) {
            Py_CLEAR(result);
            break;
        }
        PyTuple_SET_ITEM(result, i, one);
    }
    return result;
}

/* Build what read() returns from a copy: to build is to allocate, and so to collect. */
static PyObject *
built(const Sum *totals, const Account *accounts, uint32_t number)
{
    PyObject *of_endpoints = PyList_New(0);
    for (uint32_t i = 0; of_endpoints != NULL && i < number; i++) {
        PyObject *owner = accounts[i].owner == NULL ? Py_None : accounts[i].owner;
        PyObject *one = Py_BuildValue("(ON)", owner, sums_of(accounts[i].sums));
        if (one == NULL || PyList_Append(of_endpoints, one) < 0) {
            Py_CLEAR(of_endpoints);
        }
        Py_XDECREF(one);
    }
    return of_endpoints == NULL ? NULL : Py_BuildValue("(NN)", sums_of(totals), of_endpoints);
}

PyDoc_STRVAR(read_doc,
"read()\n--\n\n"
"Return all collections by generation, and those by endpoint.\n\n"
"Returns:\n"
"    For each generation how many there were, their seconds, those of the longest, and the objects\n"
"    collected and uncollectable; and a list of (endpoint, the same). It begins with those outside\n"
"    of visits, those of visits without a name yet, and those past the cap, all three with None.\n");

static PyObject *
collector_read(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    settle();
    Account unnamed = state.unnamed;
    for (uint32_t i = 0; i < visits.size; i++) {
        if (visits.slots[i].owner != NULL) {
            add_all(&unnamed, &visits.slots[i]);
        }
    }
    Account *accounts = PyMem_RawCalloc(endpoints.used + 3, sizeof(Account));
    if (accounts == NULL) {
        return PyErr_NoMemory();
    }
    Sum totals[GENERATIONS];
    memcpy(totals, state.totals, sizeof(totals));
    uint32_t number = 0;
    accounts[number++] = state.outside;
    accounts[number++] = unnamed;
    accounts[number++] = state.other;
    for (uint32_t i = 0; i < endpoints.size; i++) {
        if (endpoints.slots[i].owner != NULL) {
            accounts[number] = endpoints.slots[i];
            Py_INCREF(accounts[number++].owner);
        }
    }
    PyObject *result = built(totals, accounts, number);
    for (uint32_t i = 0; i < number; i++) {
        Py_XDECREF(accounts[i].owner);
    }
    PyMem_RawFree(accounts);
    return result;
}

PyDoc_STRVAR(legacy_doc,
"is_legacy(type)\n--\n\n"
"Say whether objects of a type have a finalizer of before PEP 442, such as a C type's ``tp_del``:\n"
"the collector frees no cycle that one of them is in.\n");

static PyObject *
collector_legacy(PyObject *Py_UNUSED(module), PyObject *type)
{
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "a type is wanted");
        return NULL;
    }
    return PyBool_FromLong(((PyTypeObject *)type)->tp_del != NULL);
}

static PyMethodDef methods[] = {
    {"collected", (PyCFunction)(void (*)(void))collector_collected, METH_FASTCALL, collected_doc},
    {"watch", collector_watch, METH_VARARGS, watch_doc},
    {"unwatch", collector_unwatch, METH_NOARGS, unwatch_doc},
    {"read", collector_read, METH_NOARGS, read_doc},
    {"is_legacy", collector_legacy, METH_O, legacy_doc},
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
#ifdef Py_GIL_DISABLED
    PyErr_SetString(PyExc_ImportError, "counting needs the GIL, which this Python is built without");
    return -1;
#endif
    if (generation_key == NULL) {
        generation_key = PyUnicode_InternFromString("generation");
        collected_key = PyUnicode_InternFromString("collected");
        uncollectable_key = PyUnicode_InternFromString("uncollectable");
        endpoint_key = PyUnicode_InternFromString("endpoint");
    }
    if (generation_key == NULL || collected_key == NULL || uncollectable_key == NULL ||
        endpoint_key == NULL) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "MOST_ENDPOINTS", ENDPOINTS / 2);
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
    .m_name = "leakmw.heap._collector",
    .m_doc = "What the collector's own module cannot tell.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__collector(void)
{
    return PyModuleDef_Init(&definition);
}
