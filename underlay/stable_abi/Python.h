/* The part of CPython's stable ABI (PEP 384) that rosidl's generated message code uses.
 *
 * Distributions put the real Python.h into a separate package (python3-dev), which needs root to install. CPython
 * guarantees that the declarations here do not change within Python 3, so generating a message package needs only a
 * compiler. Generated code that needs more than this fails to compile instead of misbehaving.
 */
#ifndef TTT3R_ROS_UNDERLAY_STABLE_ABI_PYTHON_H
#define TTT3R_ROS_UNDERLAY_STABLE_ABI_PYTHON_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

typedef ssize_t Py_ssize_t;
typedef struct _object {
  Py_ssize_t reference_count;
  void * type;
} PyObject;

/* Objects, sequences and errors. */
extern PyObject * PyExc_RuntimeError;
void Py_IncRef(PyObject *);
void Py_DecRef(PyObject *);
PyObject * PyImport_ImportModule(const char *);
PyObject * PyObject_GetAttrString(PyObject *, const char *);
int PyObject_SetAttrString(PyObject *, const char *, PyObject *);
PyObject * PyObject_CallObject(PyObject *, PyObject *);
Py_ssize_t PySequence_Size(PyObject *);
PyObject * PySequence_List(PyObject *);
PyObject * PyList_New(Py_ssize_t);
PyObject * PyList_GetItem(PyObject *, Py_ssize_t);
int PyList_SetItem(PyObject *, Py_ssize_t, PyObject *);
void PyErr_SetString(PyObject *, const char *);

#define Py_INCREF(object) Py_IncRef((PyObject *)(object))
#define Py_DECREF(object) Py_DecRef((PyObject *)(object))
#define Py_XDECREF(object) Py_DecRef((PyObject *)(object)) /* Py_DecRef accepts NULL */

/* PySequence_Fast hands out tuples as they are; its fast accessor is not stable ABI, so always work on a list. */
#define PySequence_Fast(object, message) PySequence_List(object)
#define PySequence_Fast_GET_ITEM(list, index) PyList_GetItem(list, index)

/* Jazzy's generator reads the names of classes and modules, which are ASCII, as one byte per character: UTF-8 is the same. */
const char * PyUnicode_AsUTF8AndSize(PyObject *, Py_ssize_t *);
#define PyUnicode_1BYTE_DATA(text) PyUnicode_AsUTF8AndSize(text, NULL)

/* Capsules and modules. */
typedef void (* PyCapsule_Destructor)(PyObject *);
PyObject * PyCapsule_New(void *, const char *, PyCapsule_Destructor);

typedef PyObject * (* PyCFunction)(PyObject *, PyObject *);
typedef struct PyMethodDef {
  const char * name;
  PyCFunction method;
  int flags;
  const char * doc;
} PyMethodDef;
typedef struct PyModuleDef_Base {
  PyObject ob_base;
  PyObject * (* init)(void);
  Py_ssize_t index;
  PyObject * copy;
} PyModuleDef_Base;
typedef struct PyModuleDef {
  PyModuleDef_Base base;
  const char * name;
  const char * doc;
  Py_ssize_t size;
  PyMethodDef * methods;
  void * slots;
  void * traverse;
  void * clear;
  void * free;
} PyModuleDef;
#define PyModuleDef_HEAD_INIT {{1, NULL}, NULL, 0, NULL}
#define PYTHON_ABI_VERSION 3 /* what modules built for the stable ABI pass */
#define PyModule_Create(definition) PyModule_Create2(definition, PYTHON_ABI_VERSION)
PyObject * PyModule_Create2(PyModuleDef *, int);
int PyModule_AddObject(PyObject *, const char *, PyObject *);
#define PyMODINIT_FUNC __attribute__((visibility("default"))) PyObject *

#endif
