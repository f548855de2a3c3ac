#pragma once
// For tests: a reader that misbehaves on purpose at chosen reads.
#include "io/block_reader.h"
