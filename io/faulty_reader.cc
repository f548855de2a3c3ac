#include "io/faulty_reader.h"
