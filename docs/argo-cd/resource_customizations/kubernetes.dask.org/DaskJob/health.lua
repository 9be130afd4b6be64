-- Health of a DaskJob of dask-operator or dask-kubernetes, from its status.

local health = { status = "Progressing", message = "the controller has not observed the resource yet" }

if obj.metadata.deletionTimestamp ~= nil then
  local finalizers = table.concat(obj.metadata.finalizers or {}, ", ")
  health.message = "the resource is being deleted, and waits for finalizers: " .. finalizers
  return health
end

if obj.status == nil or obj.status.jobStatus == nil then
  return health
end

health.message = "the job is " .. obj.status.jobStatus
if obj.status.jobStatus == "Successful" then
  health.status = "Healthy"
elseif obj.status.jobStatus == "Failed" then
  health.status = "Degraded"
elseif obj.status.jobStatus == "Suspended" then
  health.status = "Suspended"
end

return health
