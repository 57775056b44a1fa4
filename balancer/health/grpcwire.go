package health

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// The messages of grpc.health.v1 are two: a request whose field 1 is a service's
// name, and a response whose field 1 is a status. They are written and read here,
// because a protobuf library is a lot of code for that.

// serving is the only status of a service that is a success.
const serving = 1

// Types of fields on the wire.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

var (
	errMessageShort      = errors.New("message is cut short")
	errMessageCompressed = errors.New("message is compressed")
	errMessageMalformed  = errors.New("malformed message")
)

// appendMessage appends a message with the prefix that it has within a call: no
// compression, and its length.
func appendMessage(dst, message []byte) []byte {
	dst = append(dst, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(message)))
	return append(dst, message...)
}

// cutMessage returns the first message of an answer.
func cutMessage(answer []byte) ([]byte, error) {
	if len(answer) < 5 {
		return nil, errMessageShort
	}
	if answer[0] != 0 {
		return nil, errMessageCompressed
	}
	length := binary.BigEndian.Uint32(answer[1:])
	if uint64(length) > uint64(len(answer)-5) {
		return nil, errMessageShort
	}
	return answer[5 : 5+length], nil
}

// appendCheckRequest appends a HealthCheckRequest. An empty name, which stands for
// the whole server, is left out, as is every field that has its default.
func appendCheckRequest(dst []byte, service string) []byte {
	if service == "" {
		return dst
	}
	dst = append(dst, 1<<3|wireBytes)
	dst = binary.AppendUvarint(dst, uint64(len(service)))
	return append(dst, service...)
}

// servingStatus returns the status in a HealthCheckResponse. Of fields that are
// there more than once the last counts, and unknown ones are skipped, as protobuf
// has it.
func servingStatus(message []byte) (uint64, error) {
	var status uint64
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 || tag>>3 == 0 {
			return 0, errMessageMalformed
		}
		message = message[n:]
		if tag == 1<<3|wireVarint {
			if status, n = binary.Uvarint(message); n <= 0 {
				return 0, errMessageMalformed
			}
			message = message[n:]
			continue
		}
		rest, err := skipField(message, tag&7)
		if err != nil {
			return 0, err
		}
		message = rest
	}
	return status, nil
}

func skipField(message []byte, wireType uint64) ([]byte, error) {
	var size uint64
	switch wireType {
	case wireVarint:
		_, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, errMessageMalformed
		}
		size = uint64(n)
	case wire64:
		size = 8
	case wire32:
		size = 4
	case wireBytes:
		length, n := binary.Uvarint(message)
		if n <= 0 {
			return nil, errMessageMalformed
		}
		message, size = message[n:], length
	default:
		return nil, errMessageMalformed
	}
	if size > uint64(len(message)) {
		return nil, errMessageShort
	}
	return message[size:], nil
}

// statusName returns the name of a service's status.
func statusName(status uint64) string {
	switch status {
	case 0:
		return "UNKNOWN"
	case serving:
		return "SERVING"
	case 2:
		return "NOT_SERVING"
	case 3:
		return "SERVICE_UNKNOWN"
	}
	return "unknown serving status " + strconv.FormatUint(status, 10)
}
