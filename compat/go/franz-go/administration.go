package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"

	"millstream/compat/commands"
)

// administer carries out the commands that need no producer and no consumer.
func administer(ctx context.Context, admin *kadm.Client, command *commands.Command) (commands.Answer, error) {
	switch command.Do {
	case "offsets":
		return offsets(ctx, admin, command)
	case "offset_for_time":
		return offsetForTime(ctx, admin, command)
	case "committed":
		return committed(ctx, admin, command)
	case "create_topic":
		_, err := admin.CreateTopic(ctx, command.Partitions, 1, command.Configs, command.Topic)
		return nil, err
	case "delete_topic":
		_, err := admin.DeleteTopic(ctx, command.Topic)
		return nil, err
	case "add_partitions":
		changed, err := admin.UpdatePartitions(ctx, int(command.Partitions), command.Topic)
		if err != nil {
			return nil, err
		}
		return nil, changed.Error()
	case "delete_records":
		return nil, deleteRecords(ctx, admin, command)
	case "topics":
		return topics(ctx, admin)
	case "groups":
		found, err := admin.ListGroups(ctx)
		if err != nil {
			return nil, err
		}
		return commands.Answer{"groups": found.Groups()}, nil
	case "describe_group":
		return describeGroup(ctx, admin, command.Group)
	case "delete_group":
		_, err := admin.DeleteGroup(ctx, command.Group)
		return nil, err
	case "topic_config":
		return topicConfig(ctx, admin, command.Topic)
	case "set_topic_config":
		change := kadm.AlterConfig{Op: kadm.SetConfig, Name: command.Name, Value: &command.Value}
		changed, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, command.Topic)
		if err != nil {
			return nil, err
		}
		_, err = changed.On(command.Topic, func(r *kadm.AlterConfigsResponse) error { return r.Err })
		return nil, err
	case "cluster":
		found, err := admin.BrokerMetadata(ctx)
		if err != nil {
			return nil, err
		}
		return commands.Answer{"brokers": len(found.Brokers), "id": found.Cluster}, nil
	}
	return nil, fmt.Errorf("unknown command %q", command.Do)
}

func deleteRecords(ctx context.Context, admin *kadm.Client, command *commands.Command) error {
	before := make(kadm.Offsets)
	before.Add(kadm.Offset{Topic: command.Topic, Partition: command.Partition, At: command.Before})
	deleted, err := admin.DeleteRecords(ctx, before)
	if err != nil {
		return err
	}
	return deleted.Error()
}

func offsets(ctx context.Context, admin *kadm.Client, command *commands.Command) (commands.Answer, error) {
	earliest, err := admin.ListStartOffsets(ctx, command.Topic)
	if err != nil {
		return nil, err
	}
	latest, err := admin.ListEndOffsets(ctx, command.Topic)
	if err != nil {
		return nil, err
	}
	found := [][2]int64{}
	for partition := range command.Partitions {
		first, _ := earliest.Lookup(command.Topic, partition)
		last, _ := latest.Lookup(command.Topic, partition)
		if first.Err != nil || last.Err != nil {
			return nil, fmt.Errorf("partition %d: %w, %w", partition, first.Err, last.Err)
		}
		found = append(found, [2]int64{first.Offset, last.Offset})
	}
	return commands.Answer{"offsets": found}, nil
}

func offsetForTime(ctx context.Context, admin *kadm.Client, command *commands.Command) (commands.Answer, error) {
	listed, err := admin.ListOffsetsAfterMilli(ctx, command.T, command.Topic)
	if err != nil {
		return nil, err
	}
	found, _ := listed.Lookup(command.Topic, command.Partition)
	if found.Err != nil {
		return nil, found.Err
	}
	// kadm puts the end offset, without a timestamp, where no record is late enough.
	if found.Timestamp < 0 {
		return commands.Answer{"offset": -1}, nil
	}
	return commands.Answer{"offset": found.Offset}, nil
}

func committed(ctx context.Context, admin *kadm.Client, command *commands.Command) (commands.Answer, error) {
	fetched, err := admin.FetchOffsets(ctx, command.Group)
	if err != nil {
		return nil, err
	}
	found := make([]any, command.Partitions)
	for partition := range command.Partitions {
		if at, ok := fetched.Lookup(command.Topic, partition); ok {
			if at.Err != nil {
				return nil, at.Err
			}
			if at.At >= 0 {
				found[partition] = []any{at.At, at.Metadata}
			}
		}
	}
	return commands.Answer{"committed": found}, nil
}

func topics(ctx context.Context, admin *kadm.Client) (commands.Answer, error) {
	listed, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	for name, topic := range listed {
		found[name] = len(topic.Partitions)
	}
	return commands.Answer{"topics": found}, nil
}

func describeGroup(ctx context.Context, admin *kadm.Client, group string) (commands.Answer, error) {
	described, err := admin.DescribeGroups(ctx, group)
	if err != nil {
		return nil, err
	}
	found := described[group]
	return commands.Answer{"state": found.State, "members": len(found.Members)}, found.Err
}

func topicConfig(ctx context.Context, admin *kadm.Client, topic string) (commands.Answer, error) {
	described, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	resource, err := described.On(topic, nil)
	if err != nil {
		return nil, err
	}
	if resource.Err != nil {
		return nil, resource.Err
	}
	found := make(map[string]*string)
	for _, config := range resource.Configs {
		found[config.Key] = config.Value
	}
	return commands.Answer{"config": found}, nil
}
