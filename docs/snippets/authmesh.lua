-- Asks authmesh whether a request may pass, and tells the service who calls. For HAProxy 2.6 or newer; see haproxy.cfg.

local url = "http://" .. os.getenv("AUTHMESH") .. "/verify"
local timeout_ms = 10000

-- What authmesh reads besides the request itself.
local credentials = { "authorization", "cookie", "dpop" }
local identity = {
    "x-auth-subject", "x-auth-issuer", "x-auth-client", "x-auth-scopes", "x-auth-session", "x-auth-email", "x-auth-expires",
}
-- Answers that are the client's to see. Everything else means that nobody could tell: 503, and never a verdict.
local verdicts = { [400] = true, [401] = true, [403] = true, [503] = true }
local shown = { "content-type", "www-authenticate", "retry-after", "cache-control", "dpop-nonce" }

-- HAProxy counts the values of a header from 0.
local function all(values)
    local list = {}
    local index = 0
    while values and values[index] do
        table.insert(list, values[index])
        index = index + 1
    end
    return list
end

core.register_action("authmesh", { "http-req" }, function(txn)
    local request = txn.http:req_get_headers()
    local tls = txn.f:ssl_fc()
    local question = {
        ["x-forwarded-proto"] = { (tls == true or tls == 1) and "https" or "http" },
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-uri"] = { txn.sf:pathq() },
        ["x-forwarded-host"] = { all(request["host"])[1] or "" },
    }
    for _, name in ipairs(credentials) do
        local values = all(request[name])
        if #values > 0 then
            question[name] = values
        end
    end

    local answer = core.httpclient():get({ url = url, headers = question, timeout = timeout_ms })
    local status = answer and answer.status or 0

    if status == 200 then
        for _, name in ipairs(identity) do
            local value = all(answer.headers[name])[1]
            if value and value ~= "" then
                txn.http:req_set_header(name, value)
            end
        end
        -- For the client's next proof (RFC 9449 section 8.2); haproxy.cfg puts it into the answer.
        local nonce = all(answer.headers["dpop-nonce"])[1]
        if nonce then
            txn:set_var("txn.authmesh_nonce", nonce)
        end
        return
    end

    local reply = txn:reply({ status = verdicts[status] and status or 503 })
    if verdicts[status] then
        for _, name in ipairs(shown) do
            local value = all(answer.headers[name])[1]
            if value then
                reply:add_header(name, value)
            end
        end
        reply:set_body(answer.body or "")
    else
        reply:add_header("retry-after", "1")
        reply:add_header("cache-control", "no-store")
    end
    txn:done(reply)
end)
