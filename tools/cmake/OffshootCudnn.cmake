# cuDNN, for attention in bf16: OFFSHOOT_HAS_CUDNN says whether its headers, its library and its C++
# frontend (headers only: pip install nvidia-cudnn-frontend) are all there. Looked for in
# CMAKE_PREFIX_PATH, the CUDA Toolkit and python3's packages, the frontend first in
# OFFSHOOT_CUDNN_FRONTEND_DIR.
set(OFFSHOOT_HAS_CUDNN OFF)
option(OFFSHOOT_CUDNN "Use cuDNN where it is found" ON)
set(OFFSHOOT_CUDNN_FRONTEND_DIR "" CACHE PATH "Folder of cudnn_frontend.h, or the one above include/")

function(offshoot_find_cudnn)
  set(packages "")
  find_program(OFFSHOOT_PYTHON python3)
  mark_as_advanced(OFFSHOOT_PYTHON)
  if(OFFSHOOT_PYTHON)
    execute_process(
      COMMAND ${OFFSHOOT_PYTHON} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
      OUTPUT_VARIABLE packages OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  find_path(OFFSHOOT_CUDNN_FRONTEND_INCLUDE cudnn_frontend.h
    HINTS ${OFFSHOOT_CUDNN_FRONTEND_DIR} ${packages} PATH_SUFFIXES include)
  find_path(OFFSHOOT_CUDNN_INCLUDE cudnn.h
    HINTS ${CUDAToolkit_INCLUDE_DIRS} ${packages}/nvidia/cudnn PATH_SUFFIXES include)
  find_library(OFFSHOOT_CUDNN_LIBRARY NAMES cudnn libcudnn.so.9
    HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_LIBRARY_ROOT} ${packages}/nvidia/cudnn
    PATH_SUFFIXES lib lib64)
  mark_as_advanced(OFFSHOOT_CUDNN_FRONTEND_INCLUDE OFFSHOOT_CUDNN_INCLUDE OFFSHOOT_CUDNN_LIBRARY)
endfunction()

if(OFFSHOOT_CUDNN)
  offshoot_find_cudnn()
  if(OFFSHOOT_CUDNN_FRONTEND_INCLUDE AND OFFSHOOT_CUDNN_INCLUDE AND OFFSHOOT_CUDNN_LIBRARY)
    set(OFFSHOOT_HAS_CUDNN ON)
    set(OFFSHOOT_CUDNN_INCLUDES ${OFFSHOOT_CUDNN_FRONTEND_INCLUDE} ${OFFSHOOT_CUDNN_INCLUDE})
    # The frontend compiles some kernels, none of ours, by NVRTC.
    list(APPEND OFFSHOOT_CUDA_LIBRARIES ${OFFSHOOT_CUDNN_LIBRARY} CUDA::nvrtc)
    message(STATUS "cuDNN: ${OFFSHOOT_CUDNN_LIBRARY}")
  else()
    message(STATUS "cuDNN: not found, or not its frontend; attention runs on own kernels")
  endif()
endif()
