// Package simserver is a simulated LLM server whose true limits are known in
// closed form and which can misbehave on purpose.
//
// One queueing core (S slots served first come first served, step time
// t(x) = a + b x and prefill p(x) = p0 + p1 x with x requests running) stands
// behind two faces: package simhttp serves it in the protocols of real servers,
// and NewDoer answers in process without sockets, so that whole sweeps run under
// fake time. TruthOf gives the limit that a measurement of it has to find.
package simserver
