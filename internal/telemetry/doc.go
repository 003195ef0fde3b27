// Package telemetry reads what a server says of itself while it is under load:
// its Prometheus endpoint, and a DCGM and a node exporter where there are any.
//
// A Scraper asks every endpoint once an interval, writes one line a scrape and
// keeps the history in bounded memory; Window sums up a stretch of it. A sweep
// never fails for want of telemetry: an endpoint that is absent, goes away or
// answers nonsense leaves the figures unknown and is said so once.
package telemetry
