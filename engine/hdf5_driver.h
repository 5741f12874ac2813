// HDF5's way to our files: a virtual file driver over AtomicFile (writing) and InputFile (reading).
//
// Writing  the driver always reports success. AtomicFile keeps the first error and drops what
//          follows; the saver asks it afterwards. HDF5 1.10 leaves a file half closed when a
//          write fails on closing, and then crashes at exit.
// Reading  errors are reported; bytes past the end read as zeros, as HDF5's own driver does.
//
// Included by the HDF5 layer only (hdf5_*.cpp).
#pragma once

#include <hdf5.h>

#include "engine/file.h"
#include "engine/hdf5_handle.h"

namespace offshoot {

// A file access list for H5Fcreate on `file`, which outlives the HDF5 file. Metadata stays in
// memory until the file is closed, so that nothing is read back after an error.
H5Handle h5_write_access(AtomicFile& file);

// A file access list for H5Fopen on `file`, which outlives the HDF5 file.
H5Handle h5_read_access(const InputFile& file);

}  // namespace offshoot
