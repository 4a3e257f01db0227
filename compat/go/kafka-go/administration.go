package main

import (
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"millstream/compat/commands"
)

// administer carries out the commands that need no producer and no consumer.
func (a *agent) administer(
	ctx context.Context, command *commands.Command,
) (commands.Answer, error) {
	switch command.Do {
	case "offsets":
		return a.offsets(ctx, command)
	case "offset_for_time":
		return a.offsetForTime(ctx, command)
	case "committed":
		return a.committed(ctx, command)
	case "create_topic":
		return nil, a.createTopic(ctx, command)
	case "delete_topic":
		request := &kafka.DeleteTopicsRequest{Topics: []string{command.Topic}}
		done, err := a.admin.DeleteTopics(ctx, request)
		if err != nil {
			return nil, err
		}
		return nil, done.Errors[command.Topic]
	case "add_partitions":
		wanted := kafka.TopicPartitionsConfig{Name: command.Topic, Count: command.Partitions}
		done, err := a.admin.CreatePartitions(ctx,
			&kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{wanted}})
		if err != nil {
			return nil, err
		}
		return nil, done.Errors[command.Topic]
	case "topics", "cluster":
		return a.metadata(ctx, command.Do)
	case "groups":
		found, err := a.admin.ListGroups(ctx, &kafka.ListGroupsRequest{})
		if err != nil {
			return nil, err
		}
		names := []string{}
		for _, group := range found.Groups {
			names = append(names, group.GroupID)
		}
		return commands.Answer{"groups": names}, found.Error
	case "describe_group":
		request := &kafka.DescribeGroupsRequest{GroupIDs: []string{command.Group}}
		found, err := a.admin.DescribeGroups(ctx, request)
		if err != nil {
			return nil, err
		}
		group := found.Groups[0]
		return commands.Answer{"state": group.GroupState, "members": len(group.Members)}, group.Error
	case "delete_group":
		request := &kafka.DeleteGroupsRequest{GroupIDs: []string{command.Group}}
		done, err := a.admin.DeleteGroups(ctx, request)
		if err != nil {
			return nil, err
		}
		return nil, done.Errors[command.Group]
	case "topic_config":
		return a.topicConfig(ctx, command.Topic)
	case "set_topic_config":
		return nil, a.setTopicConfig(ctx, command)
	}
	return nil, fmt.Errorf("unknown command %q", command.Do)
}

func (a *agent) listed(
	ctx context.Context, topic string, asked ...kafka.OffsetRequest,
) (kafka.PartitionOffsets, error) {
	for {
		found, err := a.admin.ListOffsets(ctx,
			&kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: asked}})
		if err != nil {
			return kafka.PartitionOffsets{}, err
		}
		at := found.Topics[topic][0]
		// kafka-go does not ask again by itself while a new topic has no leader yet.
		if at.Error == nil || !at.Error.(kafka.Error).Temporary() || ctx.Err() != nil {
			return at, at.Error
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (a *agent) offsets(ctx context.Context, command *commands.Command) (commands.Answer, error) {
	found := [][2]int64{}
	for partition := range int(command.Partitions) {
		at, err := a.listed(ctx, command.Topic,
			kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition))
		if err != nil {
			return nil, err
		}
		found = append(found, [2]int64{at.FirstOffset, at.LastOffset})
	}
	return commands.Answer{"offsets": found}, nil
}

func (a *agent) offsetForTime(
	ctx context.Context, command *commands.Command,
) (commands.Answer, error) {
	found, err := a.listed(ctx, command.Topic,
		kafka.TimeOffsetOf(int(command.Partition), time.UnixMilli(command.T)))
	if err != nil {
		return nil, err
	}
	for offset := range found.Offsets {
		return commands.Answer{"offset": offset}, nil
	}
	return commands.Answer{"offset": -1}, nil
}

func (a *agent) committed(ctx context.Context, command *commands.Command) (commands.Answer, error) {
	asked := []int{}
	for partition := range int(command.Partitions) {
		asked = append(asked, partition)
	}
	fetched, err := a.admin.OffsetFetch(ctx, &kafka.OffsetFetchRequest{
		GroupID: command.Group, Topics: map[string][]int{command.Topic: asked},
	})
	if err != nil {
		return nil, err
	}
	found := make([]any, command.Partitions)
	for _, at := range fetched.Topics[command.Topic] {
		if at.Error != nil {
			return nil, at.Error
		}
		if at.CommittedOffset >= 0 {
			found[at.Partition] = []any{at.CommittedOffset, at.Metadata}
		}
	}
	return commands.Answer{"committed": found}, fetched.Error
}

func (a *agent) createTopic(ctx context.Context, command *commands.Command) error {
	topic := kafka.TopicConfig{
		Topic: command.Topic, NumPartitions: int(command.Partitions), ReplicationFactor: 1,
	}
	for name, value := range command.Configs {
		entry := kafka.ConfigEntry{ConfigName: name, ConfigValue: *value}
		topic.ConfigEntries = append(topic.ConfigEntries, entry)
	}
	done, err := a.admin.CreateTopics(ctx,
		&kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err != nil {
		return err
	}
	return done.Errors[command.Topic]
}

func (a *agent) metadata(ctx context.Context, what string) (commands.Answer, error) {
	found, err := a.admin.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return nil, err
	}
	if what == "cluster" {
		return commands.Answer{"brokers": len(found.Brokers), "id": found.ClusterID}, nil
	}
	topics := make(map[string]int)
	for _, topic := range found.Topics {
		topics[topic.Name] = len(topic.Partitions)
	}
	return commands.Answer{"topics": topics}, nil
}

func (a *agent) topicConfig(ctx context.Context, topic string) (commands.Answer, error) {
	resource := kafka.DescribeConfigRequestResource{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
	}
	described, err := a.admin.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{resource},
	})
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for _, entry := range described.Resources[0].ConfigEntries {
		found[entry.ConfigName] = entry.ConfigValue
	}
	return commands.Answer{"config": found}, described.Resources[0].Error
}

func (a *agent) setTopicConfig(ctx context.Context, command *commands.Command) error {
	change := kafka.IncrementalAlterConfigsRequestConfig{
		Name: command.Name, Value: command.Value, ConfigOperation: kafka.ConfigOperationSet,
	}
	resource := kafka.IncrementalAlterConfigsRequestResource{
		ResourceType: kafka.ResourceTypeTopic,
		ResourceName: command.Topic,
		Configs:      []kafka.IncrementalAlterConfigsRequestConfig{change},
	}
	done, err := a.admin.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{resource},
	})
	if err != nil {
		return err
	}
	return done.Resources[0].Error
}
