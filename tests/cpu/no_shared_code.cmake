# Fails when an object file of kernels offers a weak function: the linker keeps one copy of such a function for the whole
# program, and it might keep the one with instructions that this machine lacks (cpu/kernels.h).
foreach(object ${OBJECTS})
  execute_process(COMMAND ${NM} --defined-only --demangle ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* W [^\n]*" weak "${symbols}")
  if(weak)
    message(SEND_ERROR "${object}: ${weak}")
  endif()
endforeach()
