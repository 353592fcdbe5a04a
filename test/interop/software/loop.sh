# bash in a loop with a pipeline of child processes: it counts, and every line adds up.
scratch=$1
count=0
touch "$scratch/lines"
while [ ! -e "$scratch/go" ]; do
  count=$((count + 1))
  echo "$count" >>"$scratch/lines"
  sum=$(printf '%s\n' 1 2 "$count" | { total=0; while read -r n; do total=$((total + n)); done; echo "$total"; })
  [ "$sum" = $((count + 3)) ] || { echo "FAIL a pipeline gave $sum for $count" >"$scratch/verdict"; exit 1; }
  if [ "$count" = 20 ]; then echo ready >"$scratch/ready"; fi
  sleep 0.01
done
for more in 1 2 3 4 5; do count=$((count + 1)); echo "$count" >>"$scratch/lines"; done
if [ "$(tr '\n' ' ' <"$scratch/lines")" = "$(seq -s ' ' "$count") " ]; then echo PASS >"$scratch/verdict.new"
else echo "FAIL the lines do not count up" >"$scratch/verdict.new"; fi
mv "$scratch/verdict.new" "$scratch/verdict"
