// A filter with the Go SDK that uses what filters use: the emulator's tests and real Envoy run the same module.
//
// The plugin's configuration says what it does:
//
//	headers          adds headers to request and response, and writes down what it sees
//	body             makes the request's body upper-case, once all of it is there
//	properties A,B   writes down properties at every phase, parts of a path joined by slashes
//	auth CLUSTER     asks a cluster about every request
//	count            counts requests, and writes the count down at every tick
//	send NAME        puts every path into a queue
//	receive NAME     writes down what comes out of a queue
//	state            keeps the number of requests in shared data, and sets filter state
//	make NAMES       sets filter state of these names, each with a text, a number, an address and a name
//	tcp              makes what the client sends upper-case, once there are five bytes
//	panic            panics when the body comes
package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() {
	proxywasm.SetVMContext(&vm{})
}

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	does, with string
	queue      uint32
	requests   proxywasm.MetricCounter
	gauge      proxywasm.MetricGauge
	sizes      proxywasm.MetricHistogram
}

func say(format string, values ...any) { proxywasm.LogInfof("SAY "+format, values...) }

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	configuration, err := proxywasm.GetPluginConfiguration()
	if err != nil {
		proxywasm.LogCriticalf("no configuration: %v", err)
		return types.OnPluginStartStatusFailed
	}
	p.does, p.with, _ = strings.Cut(string(configuration), " ")
	switch p.does {
	case "count":
		p.requests = proxywasm.DefineCounterMetric("go.requests")
		p.gauge = proxywasm.DefineGaugeMetric("go.last_size")
		p.sizes = proxywasm.DefineHistogramMetric("go.sizes")
		err = proxywasm.SetTickPeriodMilliSeconds(100)
	case "receive":
		p.queue, err = proxywasm.RegisterSharedQueue(p.with)
	case "headers", "body", "properties", "auth", "send", "state", "make", "tcp", "panic":
	default:
		proxywasm.LogCriticalf("unknown configuration %q", configuration)
		return types.OnPluginStartStatusFailed
	}
	if err != nil {
		proxywasm.LogCriticalf("cannot start: %v", err)
		return types.OnPluginStartStatusFailed
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnTick() {
	say("tick, %d requests, last size %d", p.requests.Value(), p.gauge.Value())
}

func (p *plugin) OnQueueReady(queue uint32) {
	item, err := proxywasm.DequeueSharedQueue(queue)
	say("queue %q %v", item, err)
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext {
	if p.does == "tcp" {
		return nil
	}
	return &stream{plugin: p}
}

func (p *plugin) NewTcpContext(uint32) types.TcpContext {
	if p.does != "tcp" {
		return nil
	}
	return &connection{plugin: p}
}

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) properties(phase string) {
	if s.plugin.does != "properties" {
		return
	}
	for _, path := range strings.Split(s.plugin.with, ",") {
		value, err := proxywasm.GetProperty(strings.Split(path, "/"))
		if err != nil {
			say("%s %s: %v", phase, path, err)
		} else {
			say("%s %s: %q", phase, path, value)
		}
	}
}

func (s *stream) OnHttpRequestHeaders(count int, end bool) types.Action {
	s.properties("request headers")
	p := s.plugin
	switch p.does {
	case "headers":
		method, _ := proxywasm.GetHttpRequestHeader(":method")
		_, missing := proxywasm.GetHttpRequestHeader("x-missing")
		say("%s, ends %t, missing: %v", method, end, missing)
		check(proxywasm.AddHttpRequestHeader("x-added", "one"))
		check(proxywasm.AddHttpRequestHeader("x-added", "two"))
		check(proxywasm.ReplaceHttpRequestHeader("x-replaced", "new"))
		check(proxywasm.RemoveHttpRequestHeader("x-removed"))
	case "body", "panic":
		check(proxywasm.RemoveHttpRequestHeader("content-length"))
	case "auth":
		path, _ := proxywasm.GetHttpRequestHeader(":path")
		headers := [][2]string{{":method", "GET"}, {":path", "/auth" + path}, {":authority", "auth"}, {"accept", "*/*"}}
		if _, err := proxywasm.DispatchHttpCall(p.with, headers, nil, nil, 1000, s.answered); err != nil {
			say("cannot call: %v", err)
			check(proxywasm.SendHttpResponse(500, nil, []byte("cannot call"), -1))
		}
		return types.ActionPause
	case "count":
		p.requests.Increment(1)
		p.gauge.Add(int64(count) - p.gauge.Value())
		p.sizes.Record(uint64(count))
	case "send":
		path, _ := proxywasm.GetHttpRequestHeader(":path")
		queue, err := proxywasm.ResolveSharedQueue("", p.with)
		if err == nil {
			err = proxywasm.EnqueueSharedQueue(queue, []byte(path))
		}
		say("send %v", err)
	case "state":
		s.state()
	case "make":
		for _, name := range strings.Split(p.with, ",") {
			for _, value := range []string{"text", "3", "127.0.0.1:80", "127.0.0.1", "[::1]:80", "true", ""} {
				_, err := proxywasm.CallForeignFunction("set_envoy_filter_state", message(name, value))
				say("%s=%s: %v", name, value, err)
			}
		}
	}
	return types.ActionContinue
}

func (s *stream) answered(headers, size, trailers int) {
	answer, err := proxywasm.GetHttpCallResponseHeaders()
	body, _ := proxywasm.GetHttpCallResponseBody(0, size)
	say("answer of %d bytes and %d trailers: %v", size, trailers, err)
	for _, header := range answer {
		if header[0] == ":status" && header[1] == "200" {
			check(proxywasm.AddHttpRequestHeader("x-user", string(body)))
			check(proxywasm.ResumeHttpRequest())
			return
		}
	}
	check(proxywasm.SendHttpResponse(403, [][2]string{{"x-why", "auth"}}, []byte("forbidden"), -1))
}

// The number of requests in shared data, by compare-and-swap; then filter state, of both kinds.
func (s *stream) state() {
	value, cas, err := proxywasm.GetSharedData("requests")
	say("shared data %q %v", value, err)
	count, _ := strconv.Atoi(string(value))
	say("wrong cas: %v", proxywasm.SetSharedData("requests", []byte("0"), cas+1000))
	say("right cas: %v", proxywasm.SetSharedData("requests", []byte(strconv.Itoa(count+1)), cas))
	say("set property: %v", proxywasm.SetProperty([]string{"go_state"}, []byte("here")))
	for _, path := range [][]string{{"go_state"}, {"filter_state", "wasm.go_state"}} {
		value, err := proxywasm.GetProperty(path)
		say("%v: %q %v", path, value, err)
	}
	for _, call := range []struct{ name, path, value string }{
		{"set_envoy_filter_state", "envoy.string", "text"},
		{"set_envoy_filter_state", "envoy.tcp_proxy.cluster", "other"},
		{"set_envoy_filter_state", "envoy.upstream.dynamic_host", "h"},
		{"set_envoy_filter_state", "envoy.upstream.dynamic_port", "80"},
		{"set_envoy_filter_state", "envoy.upstream.dynamic_port", "port"},
		{"set_envoy_filter_state", "envoy.network.upstream_server_name", "sni"},
		{"set_envoy_filter_state", "envoy.network.application_protocols", "h2"},
		{"set_envoy_filter_state", "envoy.network.upstream_subject_alt_names", "san"},
		{"set_envoy_filter_state", "envoy.network.transport_socket.original_dst_address", "127.0.0.1:80"},
		{"set_envoy_filter_state", "envoy.network.transport_socket.original_dst_address", "no address"},
		{"set_envoy_filter_state", "envoy.filters.listener.original_dst.local_ip", "127.0.0.1:80"},
		{"set_envoy_filter_state", "envoy.filters.listener.original_dst.remote_ip", "127.0.0.1:80"},
		{"set_envoy_filter_state", "envoy.filters.listener.original_dst.remote_ip", "no address"},
		{"set_envoy_filter_state", "envoy.ratelimit.hits_addend", "3"},
		{"set_envoy_filter_state", "envoy.ratelimit.hits_addend", "many"},
		{"set_envoy_filter_state", "envoy.tcp_proxy.disable_tunneling", "true"},
		{"set_envoy_filter_state", "envoy.tcp_proxy.per_connection_idle_timeout_ms", "100"},
		{"set_envoy_filter_state", "envoy.tcp_proxy.per_connection_idle_timeout_ms", "long"},
		{"set_envoy_filter_state", "envoy.hashable_string", "x"},
		{"set_envoy_filter_state", "envoy.network.ip", "127.0.0.1"},
		{"set_envoy_filter_state", "envoy.network.network_namespace", "/run/netns/x"},
		{"set_envoy_filter_state", "envoy.lb", "x"},
		{"clear_route_cache", "", ""},
		{"no_such_function", "", ""},
	} {
		_, err := proxywasm.CallForeignFunction(call.name, message(call.path, call.value))
		say("%s %s=%s: %v", call.name, call.path, call.value, err)
	}
	value, err = proxywasm.GetProperty([]string{"filter_state", "envoy.string"})
	say("envoy.string: %q %v", value, err)
}

// SetEnvoyFilterStateArguments, whose first two fields are texts.
func message(path, value string) []byte {
	return append(append([]byte{1<<3 | 2, byte(len(path))}, path...), append([]byte{2<<3 | 2, byte(len(value))}, value...)...)
}

func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	s.properties("request body")
	switch s.plugin.does {
	case "panic":
		panic("as configured")
	case "body":
		if !end {
			return types.ActionPause
		}
		body, err := proxywasm.GetHttpRequestBody(0, size)
		check(err)
		check(proxywasm.ReplaceHttpRequestBody(bytes.ToUpper(body)))
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseHeaders(count int, end bool) types.Action {
	s.properties("response headers")
	if s.plugin.does == "headers" {
		status, _ := proxywasm.GetHttpResponseHeader(":status")
		say("response %s, ends %t", status, end)
		check(proxywasm.AddHttpResponseHeader("x-filter", "go"))
	}
	return types.ActionContinue
}

func (s *stream) OnHttpResponseBody(size int, end bool) types.Action {
	s.properties("response body")
	return types.ActionContinue
}

func (s *stream) OnHttpStreamDone() {
	s.properties("done")
	if s.plugin.does == "headers" {
		status, err := proxywasm.GetHttpResponseHeader(":status")
		say("done %s %v", status, err)
	}
}

type connection struct {
	types.DefaultTcpContext
	plugin *plugin
}

func (c *connection) OnNewConnection() types.Action {
	say("new connection")
	return types.ActionContinue
}

func (c *connection) OnDownstreamData(size int, end bool) types.Action {
	say("%d bytes of the client, ends %t", size, end)
	if size < 5 && !end {
		return types.ActionPause
	}
	if size > 0 {
		data, err := proxywasm.GetDownstreamData(0, size)
		check(err)
		check(proxywasm.ReplaceDownstreamData(bytes.ToUpper(data)))
	}
	return types.ActionContinue
}

func (c *connection) OnUpstreamData(size int, end bool) types.Action {
	say("%d bytes of the upstream, ends %t", size, end)
	if size > 0 {
		check(proxywasm.PrependUpstreamData([]byte("got ")))
	}
	return types.ActionContinue
}

func (c *connection) OnDownstreamClose(by types.PeerType) { say("client closed, %d", by) }
func (c *connection) OnUpstreamClose(by types.PeerType)   { say("upstream closed, %d", by) }
func (c *connection) OnStreamDone()                       { say("connection done") }

func check(err error) {
	if err != nil {
		panic(fmt.Sprintf("host call: %v", err))
	}
}
