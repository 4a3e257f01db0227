package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var balancers = map[string]kgo.GroupBalancer{
	"":            kgo.RangeBalancer(),
	"range":       kgo.RangeBalancer(),
	"cooperative": kgo.CooperativeStickyBalancer(),
}

// eventLog keeps what the group did to this member, and what it holds now. The client calls from
// a goroutine of its own.
type eventLog struct {
	sync.Mutex
	seen [][2]any
	held [][2]any
}

func (l *eventLog) note(kind string, changed map[string][]int32) {
	l.Lock()
	defer l.Unlock()
	partitions := [][2]any{}
	for topic, numbers := range changed {
		for _, number := range numbers {
			partitions = append(partitions, [2]any{topic, number})
		}
	}
	l.seen = append(l.seen, [2]any{kind, partitions})
	if kind == "assigned" {
		l.held = append(l.held, partitions...)
		return
	}
	l.held = slices.DeleteFunc(l.held, func(at [2]any) bool {
		return slices.Contains(partitions, at)
	})
}

func (a *agent) subscribe(command *fields) error {
	note := func(kind string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			a.events.note(kind, changed)
		}
	}
	reset := kgo.NewOffset().AtStart()
	if command.Reset == "latest" {
		reset = kgo.NewOffset().AtEnd()
	}
	session, wait := 6*time.Second, 500*time.Millisecond
	if command.SessionMs != 0 {
		session = time.Duration(command.SessionMs) * time.Millisecond
	}
	if command.FetchMs != 0 {
		wait = time.Duration(command.FetchMs) * time.Millisecond
	}
	options := []kgo.Opt{
		kgo.ConsumerGroup(command.Group),
		kgo.ConsumeTopics(command.Topics...),
		kgo.SessionTimeout(session),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.Balancers(balancers[command.Assignor]),
		kgo.ConsumeResetOffset(reset),
		kgo.FetchMaxWait(wait),
		kgo.MetadataMaxAge(time.Second),
		kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(note("assigned")),
		kgo.OnPartitionsRevoked(note("revoked")),
		kgo.OnPartitionsLost(note("lost")),
	}
	if command.Instance != nil {
		options = append(options, kgo.InstanceID(*command.Instance))
	}
	a.events.Lock()
	a.events.seen, a.events.held = nil, nil
	a.events.Unlock()
	client, err := a.client(options...)
	a.member = client
	return err
}

func (a *agent) poll(command *fields) (answer, error) {
	ctx, cancel := context.WithTimeout(
		context.Background(), time.Duration(command.Ms)*time.Millisecond)
	defer cancel()
	records, err := take(a.member.PollRecords(ctx, 10_000))
	if err != nil {
		return nil, err
	}
	a.events.Lock()
	defer a.events.Unlock()
	seen := a.events.seen
	a.events.seen = nil
	if seen == nil {
		seen = [][2]any{}
	}
	held := append([][2]any{}, a.events.held...)
	return answer{"records": records, "assigned": held, "events": seen}, nil
}

func (a *agent) commit(ctx context.Context, command *fields) error {
	if _, generation := a.member.GroupMetadata(); generation < 0 {
		return errors.New("not a member of the group")
	}
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	metadata := make(map[string]map[int32]string)
	for _, each := range command.Offsets {
		at, err := parsedCommit(each)
		if err != nil {
			return err
		}
		if offsets[at.topic] == nil {
			offsets[at.topic] = make(map[int32]kgo.EpochOffset)
			metadata[at.topic] = make(map[int32]string)
		}
		offsets[at.topic][at.partition] = kgo.EpochOffset{Epoch: -1, Offset: at.offset}
		metadata[at.topic][at.partition] = at.metadata
	}
	ctx = kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		for _, topic := range request.Topics {
			for i := range topic.Partitions {
				partition := &topic.Partitions[i]
				text := metadata[topic.Topic][partition.Partition]
				partition.Metadata = &text
			}
		}
		return nil
	})
	var failed error
	a.member.CommitOffsetsSync(ctx, offsets, func(
		_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error,
	) {
		failed = commitError(response, err)
	})
	return failed
}

func commitError(response *kmsg.OffsetCommitResponse, err error) error {
	if err != nil {
		return err
	}
	for _, topic := range response.Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

type committing struct {
	topic     string
	partition int32
	offset    int64
	metadata  string
}

// parsedCommit reads [topic, partition, offset, metadata].
func parsedCommit(each []any) (committing, error) {
	if len(each) != 4 {
		return committing{}, fmt.Errorf("an offset to commit has four fields: %v", each)
	}
	partition, numeric := each[1].(float64)
	offset, alsoNumeric := each[2].(float64)
	if !numeric || !alsoNumeric {
		return committing{}, fmt.Errorf("partition and offset are numbers: %v", each)
	}
	return committing{
		topic:     fmt.Sprint(each[0]),
		partition: int32(partition),
		offset:    int64(offset),
		metadata:  fmt.Sprint(each[3]),
	}, nil
}

func (a *agent) close() {
	if a.member != nil {
		a.member.Close()
		a.member = nil
	}
}

func headerValue(encoded any) ([]byte, error) {
	if encoded == nil {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(fmt.Sprint(encoded))
}
