#!/bin/sh
# Metric filters on a group of logs in JSON lines, and an alarm on the time to the memory limit.
# Usage: metric-filters.sh LOG_GROUP SNS_TOPIC_ARN
# The setting `service` must be set for the dimension of that name; a filter takes three at most.
set -eu
group=$1
topic=$2

aws logs put-metric-filter --log-group-name "$group" --filter-name leakmw-leaks \
  --filter-pattern '{ $.event = "leakmw.leak_confirmed" }' \
  --metric-transformations \
    'metricName=Leaks,metricNamespace=leakmw,metricValue=1,dimensions={service=$.service,endpoint=$.endpoint}'

aws logs put-metric-filter --log-group-name "$group" --filter-name leakmw-suspects \
  --filter-pattern '{ $.event = "leakmw.leak_suspected" }' \
  --metric-transformations \
    'metricName=Suspects,metricNamespace=leakmw,metricValue=1,dimensions={service=$.service,endpoint=$.endpoint}'

aws logs put-metric-filter --log-group-name "$group" --filter-name leakmw-seconds-to-limit \
  --filter-pattern '{ ($.event = "leakmw.report") && ($.seconds_to_limit >= 0) }' \
  --metric-transformations \
    'metricName=SecondsToLimit,metricNamespace=leakmw,metricValue=$.seconds_to_limit,dimensions={service=$.service}'

aws logs put-metric-filter --log-group-name "$group" --filter-name leakmw-errors \
  --filter-pattern '{ $.event = "leakmw.self_error" }' \
  --metric-transformations \
    'metricName=Errors,metricNamespace=leakmw,metricValue=$.count,dimensions={service=$.service}'

# an alarm watches one set of dimensions: here the service named by $SERVICE
aws cloudwatch put-metric-alarm --alarm-name "leakmw-${SERVICE:-shop}" --alarm-actions "$topic" \
  --namespace leakmw --metric-name SecondsToLimit --dimensions "Name=service,Value=${SERVICE:-shop}" \
  --statistic Minimum --period 300 --evaluation-periods 2 --threshold 21600 \
  --comparison-operator LessThanThreshold --treat-missing-data notBreaching
