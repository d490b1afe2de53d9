-- A task run is written twice soon after it was made, and so are all its neighbours on the page. Where both new versions of all of
-- them find room beside the old (HOT), no index is touched.
alter table task_run set (fillfactor = 40);
alter table lease set (fillfactor = 50);
