package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"millstream/compat/commands"
)

// member is one member of a group, by kafka-go's generations: a reader for each partition that
// one of them brings, until it ends.
type member struct {
	agent  *agent
	group  *kafka.ConsumerGroup
	wait   time.Duration
	taken  chan kafka.Message
	leave  context.CancelFunc
	ended  chan struct{}
	events commands.Events

	mutex      sync.Mutex
	generation *kafka.Generation
}

func (a *agent) subscribe(command *commands.Command) error {
	session, wait, start := 6*time.Second, 500*time.Millisecond, kafka.FirstOffset
	if command.SessionMs != 0 {
		session = time.Duration(command.SessionMs) * time.Millisecond
	}
	if command.FetchMs != 0 {
		wait = time.Duration(command.FetchMs) * time.Millisecond
	}
	if command.Reset == "latest" {
		start = kafka.LastOffset
	}
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                     command.Group,
		Brokers:                []string{a.bootstrap},
		Topics:                 command.Topics,
		GroupBalancers:         []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
		HeartbeatInterval:      500 * time.Millisecond,
		PartitionWatchInterval: time.Second,
		WatchPartitionChanges:  true,
		SessionTimeout:         session,
		JoinGroupBackoff:       100 * time.Millisecond,
		StartOffset:            start,
	})
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancel(context.Background())
	a.member = &member{
		agent: a,
		group: group,
		wait:  wait,
		taken: make(chan kafka.Message),
		leave: leave,
		ended: make(chan struct{}),
	}
	go a.member.run(ctx)
	return nil
}

func (m *member) run(ctx context.Context) {
	defer close(m.ended)
	for ctx.Err() == nil {
		generation, err := m.group.Next(ctx)
		if errors.Is(err, kafka.ErrGroupClosed) {
			return
		}
		if err != nil {
			continue // kafka-go joins again by itself, after its backoff.
		}
		m.mutex.Lock()
		m.generation = generation
		m.mutex.Unlock()
		m.start(generation)
	}
}

func (m *member) start(generation *kafka.Generation) {
	claimed := map[string][]int32{}
	for topic, assignments := range generation.Assignments {
		for _, each := range assignments {
			claimed[topic] = append(claimed[topic], int32(each.ID))
		}
	}
	m.events.Note("assigned", claimed)
	generation.Start(func(ctx context.Context) {
		<-ctx.Done()
		m.events.Note("revoked", claimed)
	})
	for topic, assignments := range generation.Assignments {
		for _, each := range assignments {
			generation.Start(func(ctx context.Context) { m.read(ctx, topic, each) })
		}
	}
}

func (m *member) read(ctx context.Context, topic string, from kafka.PartitionAssignment) {
	reader := m.agent.reader(topic, from.ID, m.wait)
	defer reader.Close()
	if reader.SetOffset(from.Offset) == nil {
		// It ends with the generation; what else ends it shows as records that do not come.
		_ = forward(ctx, reader, m.taken)
	}
}

// poll gives what comes within a time, or what is there at once when something is.
func (m *member) poll(within time.Duration) (commands.Answer, error) {
	records := []commands.Record{}
	wait := time.After(within)
	for {
		select {
		case message := <-m.taken:
			records = append(records, record(message))
			wait = time.After(5 * time.Millisecond)
		case <-wait:
			return m.events.Answer(records), nil
		}
	}
}

// commit has no metadata to give: kafka-go commits none.
func (m *member) commit(offsets []commands.Commit) error {
	m.mutex.Lock()
	generation := m.generation
	m.mutex.Unlock()
	if generation == nil {
		return errors.New("not a member of the group")
	}
	ends := make(map[string]map[int]int64)
	for _, each := range offsets {
		if ends[each.Topic] == nil {
			ends[each.Topic] = make(map[int]int64)
		}
		ends[each.Topic][int(each.Partition)] = each.Offset
	}
	return generation.CommitOffsets(ends)
}

func (m *member) close() error {
	m.leave()
	err := m.group.Close()
	<-m.ended
	return err
}
