-- One row per event. The towers learn from presence: a view and a completion count alike.
SELECT user_id, item_id, ts, 1.0 AS value
FROM events
WHERE user_id IS NOT NULL
  AND item_id IS NOT NULL
  AND ts IS NOT NULL
