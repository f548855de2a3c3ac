#include "io/block_reader.h"
