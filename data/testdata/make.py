"""Writes the binary samples beside it: what numpy and scipy themselves make of the values in npy_test.go."""
import numpy as np
import scipy.sparse as sp

m = np.array([[0, 1, -0.5], [65504, 6e-8, 0.333]])
for name, dtype in [("half", "<f2"), ("single", "<f4"), ("double", "<f8"), ("big", ">f4")]:
    np.save(f"{name}.npy", m.astype(dtype))
np.save("fortran.npy", np.asfortranarray(m))
np.save("int.npy", m.astype("i4"))
np.save("cube.npy", m.reshape(1, 2, 3))
np.save("object.npy", np.array([["a", None]], dtype=object))

x = sp.csr_matrix(([1.5, 2, -3], [0, 3, 1], [0, 2, 2, 3]), shape=(3, 4), dtype=np.float32)
sp.save_npz("csr.npz", x)
sp.save_npz("stored.npz", x.astype(np.int8), compressed=False)
sp.save_npz("csc.npz", x.tocsc())
long = sp.csr_matrix((np.array([4.0, 1.0]), np.array([2, 0], dtype=np.int64), np.array([0, 2], dtype=np.int64)), shape=(1, 3))
sp.save_npz("unsorted.npz", long)
sp.save_npz("twice.npz", sp.csr_matrix(([4.0, 1.0], [2, 2], [0, 2]), shape=(1, 3)))
