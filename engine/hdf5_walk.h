// Reading an untrusted file where it can do no harm.
#pragma once

#include <string>

#include "engine/file.h"
#include "engine/hdf5_file.h"

namespace offshoot {

// Reads every attribute and every dataset and checks every `xxh3`. Throws Error at the first fault.
void h5_walk(const H5Reader& reader);

// The same in a child process, with its own memory limit (256 MiB and 8 bytes a byte of the file)
// and a deadline (10 s and 1 s for each 16 MiB): a damaged file can hang or crash the HDF5 library.
// Throws Error with the child's fault, or saying that it crashed or ran out of time or memory.
void h5_walk_in_child(const InputFile& file);

}  // namespace offshoot
