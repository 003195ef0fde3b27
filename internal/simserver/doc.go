// Package simserver is a simulated LLM server whose true limits are known in
// closed form and which can misbehave on purpose.
//
// One queueing core (S slots served first come first served, step time
// t(x) = a + b x and prefill p(x) = p0 + p1 x with x requests running, once or in
// several replicas) stands behind two faces: package simhttp serves it in the
// protocols of real servers, and NewDoer answers in process without sockets, so
// that whole sweeps run under fake time. TruthOf gives the limit that a measurement
// of it has to find.
//
// A request comes in by engine.go (the clock), admission.go, core.go and replica.go;
// weather.go changes the speed meanwhile. The closed form begins with truth.go and
// goes on through model.go (who gets in), state.go (what a changing server is like
// at a time), cluster.go (the balancer) and station.go (one replica). Both rest on
// service.go, what the configuration says of a request's service.
package simserver
