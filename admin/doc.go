// Package admin is the management API: what the running gateway and what it
// depends on are doing, why a request would go where it goes, the control of
// endpoints, and the reload of the configuration.
//
// It owns the API's paths, documents, credentials and defence against browsers
// and token guessing. It does not own the listener, and it knows nothing of the
// data plane: what it needs of the gateway it asks of a Runtime.
package admin
