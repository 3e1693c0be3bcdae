/* A type with a finalizer of before PEP 442, which must never be called. */
#include <Python.h>

typedef struct { PyObject_HEAD PyObject *held; } Legacy;

static int traverse(Legacy *self, visitproc visit, void *arg) { Py_VISIT(self->held); return 0; }
static int clear(Legacy *self) { Py_CLEAR(self->held); return 0; }
static void del(PyObject *self) { abort(); }
static void dealloc(Legacy *self) {
    PyObject_GC_UnTrack(self);
    clear(self);
    PyObject_GC_Del(self);
}

static PyObject *hold(Legacy *self, PyObject *held) {
    Py_XSETREF(self->held, Py_NewRef(held));
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"hold", (PyCFunction)hold, METH_O, NULL}, {NULL}};

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0) .tp_name = "legacy.Legacy", .tp_basicsize = sizeof(Legacy),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, .tp_methods = methods,
    .tp_new = PyType_GenericNew, .tp_traverse = (traverseproc)traverse,
    .tp_clear = (inquiry)clear, .tp_dealloc = (destructor)dealloc, .tp_del = del,
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "legacy", .m_size = -1};

PyMODINIT_FUNC PyInit_legacy(void) {
    PyObject *made = PyType_Ready(&type) < 0 ? NULL : PyModule_Create(&module);
    if (made != NULL) { PyModule_AddObjectRef(made, "Legacy", (PyObject *)&type); }
    return made;
}
