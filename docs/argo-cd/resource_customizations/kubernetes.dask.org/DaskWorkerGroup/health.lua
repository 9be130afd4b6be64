-- Health of a DaskWorkerGroup of dask-operator, from its condition Ready. The scripts of the other kinds with conditions differ
-- in the table below only.
-- Reasons: https://github.com/dask/dask-operator/blob/main/docs/src/troubleshooting.md

-- Reasons that end without a change by a user.
local progressing = {
  ApiServerError = true,
  ClusterNotFound = true,
  Conflict = true,
  Connecting = true,
  RollingUpdate = true,
  Scaling = true,
  SchedulingGated = true,
  Starting = true,
  Throttled = true,
  Unschedulable = true,
  WaitingForDeletion = true,
}

local health = { status = "Progressing", message = "the controller has not observed the resource yet" }

if obj.metadata.deletionTimestamp ~= nil then
  local finalizers = table.concat(obj.metadata.finalizers or {}, ", ")
  health.message = "the resource is being deleted, and waits for finalizers: " .. finalizers
  return health
end

-- Conditions about an older generation say nothing about the present spec.
if obj.status == nil or obj.status.conditions == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

for _, condition in ipairs(obj.status.conditions) do
  if condition.type == "Ready" then
    health.message = condition.message
    if condition.status == "True" then
      health.status = "Healthy"
    elseif condition.status == "False" and not progressing[condition.reason] then
      health.status = "Degraded"
    end
  end
end

return health
