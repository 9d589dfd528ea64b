function envoy_on_request(request)
  local info = request:streamInfo()
  local pairs_of_request = info:filterState():get("wasm.dynamic_subset")
  if type(pairs_of_request) ~= "string" then
    return
  end
  for key, value in pairs_of_request:gmatch("([^=;]+)=([^;]+)") do
    info:dynamicMetadata():set("envoy.lb", key, value)
  end
end
