package config

// Observability says what the gateway tells about itself.
//
//	observability:
//	  log: {level: warn}
//	  access_log:
//	    sample: 0.1
//	    request_headers: [User-Agent]
type Observability struct {
	// Log is the log of the gateway's own events, on standard error.
	Log Log `yaml:"log"`

	// Metrics are counters and histograms of traffic and of the process.
	Metrics Metrics `yaml:"metrics"`

	// AccessLog writes one line for each request.
	AccessLog AccessLog `yaml:"access_log"`
}

// Log is the log of the gateway's own events.
type Log struct {
	// Level is the least severe level that is written.
	Level string `yaml:"level" default:"info" enum:"debug,info,warn,error"`

	// Format is `json` for machines or `console` for people.
	Format string `yaml:"format" default:"json" enum:"json,console"`
}

// Metrics are counters and histograms of traffic and of the process.
type Metrics struct {
	// Enabled collects metrics.
	Enabled bool `yaml:"enabled" default:"true"`

	// Prometheus serves them for scraping.
	Prometheus Prometheus `yaml:"prometheus"`
}

// Prometheus serves metrics on the management listener in the text format of
// Prometheus.
type Prometheus struct {
	// Enabled serves the metrics.
	Enabled bool `yaml:"enabled" default:"true"`

	// Path is where they are served.
	Path string `yaml:"path" default:"/metrics"`
}

// AccessLog writes one JSON line for each request, after the response. It
// never holds up a request: when the writer falls behind, lines are dropped
// and counted.
type AccessLog struct {
	// Enabled writes the log.
	Enabled bool `yaml:"enabled" default:"true"`

	// Output is `stdout`, `stderr` or the absolute path of a file, which is
	// appended to.
	Output string `yaml:"output" default:"stdout"`

	// Sample is the share of requests that are logged: 1 logs all, 0.01 one in
	// a hundred, 0 none.
	Sample float64 `yaml:"sample" default:"1" min:"0" max:"1"`

	// MinStatus logs only responses with this status or a higher one. 0 logs
	// all.
	MinStatus int `yaml:"min_status" default:"0" min:"0" max:"599"`

	// MinDuration logs only requests that took at least this long. 0 logs all.
	MinDuration Duration `yaml:"min_duration" default:"0s"`

	// AlwaysLogErrors logs every response with status 500 or above, whatever
	// `sample` and `min_duration` say.
	AlwaysLogErrors bool `yaml:"always_log_errors" default:"true"`

	// RequestHeaders lists request headers to log. Values of `Authorization`,
	// `Proxy-Authorization` and `Cookie` cannot be logged.
	RequestHeaders []string `yaml:"request_headers"`

	// ResponseHeaders lists response headers to log. The value of `Set-Cookie`
	// cannot be logged.
	ResponseHeaders []string `yaml:"response_headers"`

	// Buffer is the number of lines that may wait for the writer.
	Buffer int `yaml:"buffer" default:"4096" min:"16" max:"1048576"`
}
