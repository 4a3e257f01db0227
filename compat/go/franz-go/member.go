package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millstream/compat/commands"
)

var balancers = map[string]kgo.GroupBalancer{
	"":            kgo.RangeBalancer(),
	"range":       kgo.RangeBalancer(),
	"cooperative": kgo.CooperativeStickyBalancer(),
}

func (a *agent) subscribe(command *commands.Command) error {
	note := func(kind string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, changed map[string][]int32) {
			a.events.Note(kind, changed)
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
	a.events.Reset()
	client, err := a.client(options...)
	a.member = client
	return err
}

func (a *agent) poll(command *commands.Command) (commands.Answer, error) {
	ctx, cancel := context.WithTimeout(
		context.Background(), time.Duration(command.Ms)*time.Millisecond)
	defer cancel()
	records, err := take(a.member.PollRecords(ctx, 10_000))
	if err != nil {
		return nil, err
	}
	return a.events.Answer(records), nil
}

func (a *agent) commit(ctx context.Context, command *commands.Command) error {
	if _, generation := a.member.GroupMetadata(); generation < 0 {
		return errors.New("not a member of the group")
	}
	offsets := make(map[string]map[int32]kgo.EpochOffset)
	metadata := make(map[string]map[int32]string)
	for _, at := range command.Offsets {
		if offsets[at.Topic] == nil {
			offsets[at.Topic] = make(map[int32]kgo.EpochOffset)
			metadata[at.Topic] = make(map[int32]string)
		}
		offsets[at.Topic][at.Partition] = kgo.EpochOffset{Epoch: -1, Offset: at.Offset}
		metadata[at.Topic][at.Partition] = at.Metadata
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

func (a *agent) close() {
	if a.member != nil {
		a.member.Close()
		a.member = nil
	}
}

// initTransactions asks for the producer id that a transaction begins with.
func (a *agent) initTransactions(ctx context.Context, id string) error {
	client, err := a.client(kgo.TransactionalID(id))
	if err != nil {
		return err
	}
	defer client.Close()
	_, _, err = client.ProducerID(ctx)
	return err
}
