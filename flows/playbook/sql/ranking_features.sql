-- One row per event: who, what, when, and how much it says. `train` learns from these rows in time order.
-- Nothing here may look ahead: a value that is aggregated over a user's whole history would tell the training of the held-out days.
SELECT
    user_id,
    item_id,
    ts,
    CASE event_type
        WHEN 'complete' THEN $complete_weight
        WHEN 'progress' THEN 1.0 + coalesce(value, 0.0)
        ELSE 1.0
    END AS value
FROM events
WHERE user_id IS NOT NULL
  AND item_id IS NOT NULL
  AND ts IS NOT NULL
