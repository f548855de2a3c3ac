#pragma once
// The caller's JSON as values of a template.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/render_state.h"

namespace sluice::jinja {

/// The members of an object. Fails for texts that are no UTF-8, integers that need more than 64
/// bits with their sign, and what is no JSON.
std::vector<std::pair<std::string, Value>> convert_variables(
    RenderState& state, const nlohmann::ordered_json& variables);

}  // namespace sluice::jinja
