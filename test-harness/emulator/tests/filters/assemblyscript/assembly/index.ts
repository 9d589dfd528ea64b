// A filter with the AssemblyScript SDK: the emulator's tests and real Envoy run the same module.
//
// The plugin's configuration is what it adds to responses; with `auth` as root id it asks a cluster about every request.
export * from "@solo-io/proxy-runtime/proxy";
import {
  Context, Counter, FilterDataStatusValues, FilterHeadersStatusValues, GrpcStatusValues, HeaderPair, Headers,
  LogLevelValues, RootContext, log, registerRootContext, send_local_response, stream_context,
} from "@solo-io/proxy-runtime";

function say(text: string): void {
  log(LogLevelValues.info, "SAY " + text);
}

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(String.UTF8.encode(name), String.UTF8.encode(value));
}

class AddRoot extends RootContext {
  counter: Counter = new Counter("assemblyscript_requests");
  createContext(context_id: u32): Context { return new Add(context_id, this); }
}

class Add extends Context {
  constructor(context_id: u32, root: AddRoot) { super(context_id, root); }

  onRequestHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    (this.root_context as AddRoot).counter.increment(1);
    say(stream_context.headers.request.get(":method") + " ends " + end.toString());
    stream_context.headers.request.add("x-added", "one");
    stream_context.headers.request.replace("x-replaced", "new");
    stream_context.headers.request.remove("x-removed");
    return FilterHeadersStatusValues.Continue;
  }

  onRequestBody(size: usize, end: bool): FilterDataStatusValues {
    say("body of " + size.toString() + ", ends " + end.toString());
    return end ? FilterDataStatusValues.Continue : FilterDataStatusValues.StopIterationAndBuffer;
  }

  onResponseHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    stream_context.headers.response.add("x-hello", this.root_context.getConfiguration());
    say("response " + stream_context.headers.response.get(":status"));
    return FilterHeadersStatusValues.Continue;
  }

  onLog(): void {
    say("log " + stream_context.headers.response.get("x-hello"));
  }
}

class AuthRoot extends RootContext {
  createContext(context_id: u32): Context { return new Auth(context_id, this); }
}

class Auth extends Context {
  constructor(context_id: u32, root: AuthRoot) { super(context_id, root); }

  onRequestHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    const path = stream_context.headers.request.get(":path");
    const headers: Headers = [pair(":method", "GET"), pair(":path", "/auth" + path), pair(":authority", "auth")];
    const result = this.root_context.httpCall(
      this.root_context.getConfiguration(), headers, new ArrayBuffer(0), [], 1000, this,
      (context: Context, headers: u32, size: usize, trailers: u32): void => {
        const status = stream_context.headers.http_callback.get(":status");
        say("answer " + status + " of " + size.toString());
        if (status == "200") {
          stream_context.headers.request.add("x-user", "known");
          context.continueRequest();
        } else {
          send_local_response(403, "denied", String.UTF8.encode("forbidden"), [], GrpcStatusValues.PermissionDenied);
        }
      });
    say("called: " + result.toString());
    return FilterHeadersStatusValues.StopIteration;
  }
}

registerRootContext((context_id: u32) => { return new AddRoot(context_id); }, "add");
registerRootContext((context_id: u32) => { return new AuthRoot(context_id); }, "auth");
