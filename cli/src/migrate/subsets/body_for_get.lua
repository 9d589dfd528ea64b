function envoy_on_request(request)
  local headers = request:headers()
  local path = headers:get(":path") or ""
  local ours = path == "/v2" or path:sub(1, 4) == "/v2/" or path:sub(1, 4) == "/v2?"
  if headers:get(":method") ~= "GET" or not ours then
    return
  end
  -- true: a body object also where the request has no body.
  local body = request:body(true)
  if body:length() == 0 then
    body:setBytes(" ")
  end
end
