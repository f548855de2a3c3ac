# SLUICE_CUDA: AUTO builds the CUDA room where nvcc is found, ON insists on it. Without it the kernels are still
# compiled for the CPU and tested there (cuda/host_shim.h).
set(SLUICE_CUDA AUTO CACHE STRING "Build the CUDA kernels: AUTO, ON or OFF")
set_property(CACHE SLUICE_CUDA PROPERTY STRINGS AUTO ON OFF)

set(SLUICE_HAVE_CUDA OFF)
if(NOT SLUICE_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    # One architecture builds quickly; releases give the list.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 90)
    endif()
    enable_language(CUDA)
    # CUDA sources take the C++ standard of the rest; Debian 12's CMake does not know how to tell nvcc.
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
    find_package(CUDAToolkit REQUIRED)
    set(SLUICE_HAVE_CUDA ON)
  elseif(SLUICE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SLUICE_CUDA is ON, but no CUDA compiler was found")
  endif()
endif()

# What CUDA sources are built with: no product and sum become one rounding unless the code says fma, and divisions and
# square roots are IEEE's, as on the CPU. -Wpedantic is left out: the code that nvcc generates is not pedantic.
add_library(sluice_cuda_flags INTERFACE)
target_include_directories(sluice_cuda_flags INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(sluice_cuda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --ftz=false --prec-div=true --prec-sqrt=true --expt-relaxed-constexpr
    -Werror=all-warnings -Xcompiler=-Wall,-Wextra,-Werror>)
