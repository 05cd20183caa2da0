-- The load on one path. The argument is a file that returns { method, headers, { path, body }, … }; the requests are
-- sent in turn, each after a pause where there is one (pause = milliseconds). The last line of the output is RESULT and:
-- requests, microseconds, failures, p50, p95, p99 (microseconds).

local ready, turn = {}, 0

function init(args)
    local plan = dofile(args[1])
    for _, request in ipairs(plan) do
        ready[#ready + 1] = wrk.format(plan.method, request.path, plan.headers, request.body)
    end
    turn = math.random(#ready)
    if plan.pause then
        function delay() return plan.pause end
    end
end

function request()
    turn = turn % #ready + 1
    return ready[turn]
end

function done(summary, latency)
    local e = summary.errors
    print(string.format("RESULT %d %d %d %d %d %d", summary.requests, summary.duration,
        e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
