#pragma once
// jinja2 decides when it compiles a template to which scope a name belongs. A scope that first
// mentions a name by setting it owns that name from its beginning: scopes within it that read the
// name earlier find it undefined, even if there is a variable of that name outside. This finds
// those names.

#include "text/jinja/syntax.h"

namespace sluice::jinja {

/// Fills in `unset` of every body of the template that is a scope.
void find_unset_names(Body& template_body);

}  // namespace sluice::jinja
