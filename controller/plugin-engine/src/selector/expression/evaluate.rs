//! Evaluates a compiled expression. Each step is charged to the budget.

use super::{
    budget::{Budget, Error, FAILURE, LIST, MAP},
    functions,
    node::{Body, Constant, Macro, Node},
    value::{Key, List, Map, Shared, Value},
};

/// An evaluation in progress.
pub(crate) struct Evaluation<'a, 'b> {
    /// The variables, indexed by place. Variables of macros that have ended may still be present.
    variables: Vec<Value<'a>>,
    budget: &'b mut Budget,
}

impl<'a, 'b> Evaluation<'a, 'b> {
    /// Starts an evaluation with the variables of the subject.
    pub(crate) fn new(variables: &[Value<'a>], budget: &'b mut Budget) -> Self {
        budget.begin();
        Self { variables: variables.to_vec(), budget }
    }

    /// Returns the value of `node`.
    pub(crate) fn value(&mut self, node: &'a Node) -> Result<Value<'a>, Error> {
        self.budget.spend(1)?;
        match node {
            Node::Constant(constant) => Ok(value_of(constant)),
            Node::Variable(place) => {
                self.variables.get(*place).cloned().ok_or_else(|| Error::failed("a variable has no value"))
            }
            Node::Select(operand, field) => self.select(operand, field),
            Node::Has(operand, field) => self.has(operand, field),
            Node::List(elements) => {
                self.budget.spend(LIST)?;
                elements.iter().map(|element| self.value(element)).collect::<Result<_, _>>().map(Value::list)
            }
            Node::Map(entries) => self.map(entries),
            Node::And(operands) => self.decide(operands, false),
            Node::Or(operands) => self.decide(operands, true),
            Node::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                let chosen = if self.bool(condition)? { then } else { otherwise };
                self.value(chosen)
            }
            Node::Unary(operation, operand) => operation(&self.value(operand)?, self.budget),
            Node::Binary(operation, operands) => {
                let [left, right] = &**operands;
                operation(&self.value(left)?, &self.value(right)?, self.budget)
            }
            Node::Matches(text, pattern) => pattern.matches(&self.value(text)?, self.budget),
            Node::Extreme(wanted, values) => {
                let values = values.iter().map(|value| self.value(value)).collect::<Result<Vec<_>, _>>()?;
                match &values[..] {
                    [Value::List(list)] => functions::extreme(list.iter(), *wanted, self.budget),
                    _ => functions::extreme(values, *wanted, self.budget),
                }
            }
            Node::Macro(each) => self.each(each),
        }
    }

    fn bool(&mut self, node: &'a Node) -> Result<bool, Error> {
        match self.value(node)? {
            Value::Bool(bool) => Ok(bool),
            other => Err(Error::failed(format!("a bool is required, not {}", other.type_name()))),
        }
    }

    /// Evaluates `&&` or `||`. An operand that equals `decisive` decides the result, even if the other one fails.
    fn decide(&mut self, operands: &'a [Node; 2], decisive: bool) -> Result<Value<'a>, Error> {
        let [left, right] = operands;
        let left = match self.bool(left) {
            Err(error) if error.is_final() => return Err(error),
            Ok(left) if left == decisive => return Ok(Value::Bool(decisive)),
            Err(error) => {
                self.budget.spend(FAILURE)?;
                Err(error)
            }
            Ok(left) => Ok(left),
        };
        match self.bool(right) {
            Ok(right) if right == decisive => Ok(Value::Bool(decisive)),
            Err(error) if error.is_final() => Err(error),
            right => left.and(right).map(Value::Bool),
        }
    }

    fn select(&mut self, operand: &'a Node, field: &'a str) -> Result<Value<'a>, Error> {
        match self.value(operand)? {
            Value::Map(map) => {
                let key = Key::Text(Shared::Borrowed(field));
                map.get(&key).ok_or_else(|| Error::failed(format!("there is no field {field}: test it with has()")))
            }
            other => Err(Error::failed(format!("there is no field {field} in {}", other.type_name()))),
        }
    }

    fn has(&mut self, operand: &'a Node, field: &'a str) -> Result<Value<'a>, Error> {
        match self.value(operand)? {
            Value::Map(map) => Ok(Value::Bool(map.get(&Key::Text(Shared::Borrowed(field))).is_some())),
            Value::List(_) => Err(Error::failed(format!("there is no field {field} in list"))),
            _ => Ok(Value::Bool(false)),
        }
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Result<Value<'a>, Error> {
        self.budget.spend(MAP)?;
        let mut fields = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.value(key)?.as_key()?;
            if let Key::Text(key) = &key {
                self.budget.spend_bytes(key.len())?;
            }
            fields.push((key, self.value(value)?));
        }
        Ok(Value::map(fields))
    }

    fn each(&mut self, each: &'a Macro) -> Result<Value<'a>, Error> {
        let items = match self.value(&each.range)? {
            Value::List(list) => list,
            Value::Map(map) => elements(&map, self.budget)?,
            other => return Err(Error::failed(format!("{} has no elements", other.type_name()))),
        };
        match &each.body {
            Body::All(test) => self.quantify(&items, each.place, test, false),
            Body::Exists(test) => self.quantify(&items, each.place, test, true),
            Body::ExistsOne(test) => {
                let mut count = 0_u64;
                for item in items.iter() {
                    self.bind(each.place, item)?;
                    count += u64::from(self.bool(test)?);
                }
                Ok(Value::Bool(count == 1))
            }
            Body::Collect { filter, element } => {
                let mut collected = Vec::new();
                for item in items.iter() {
                    self.bind(each.place, item)?;
                    if filter.as_ref().map_or(Ok(true), |filter| self.bool(filter))? {
                        collected.push(self.value(element)?);
                    }
                }
                Ok(Value::list(collected))
            }
        }
    }

    /// Evaluates `all` or `exists`. As with two operands, an element that is `decisive` decides, even if others fail.
    fn quantify(&mut self, items: &List<'a>, place: usize, test: &'a Node, decisive: bool) -> Result<Value<'a>, Error> {
        let mut failed = None;
        for item in items.iter() {
            self.bind(place, item)?;
            match self.bool(test) {
                Ok(verdict) if verdict == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    self.budget.spend(FAILURE)?;
                    failed = failed.or(Some(error));
                }
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn bind(&mut self, place: usize, item: Value<'a>) -> Result<(), Error> {
        self.budget.spend(1)?;
        self.variables.truncate(place);
        self.variables.push(item);
        Ok(())
    }
}

fn elements<'a>(map: &Map<'a>, budget: &mut Budget) -> Result<List<'a>, Error> {
    let keys = map.keys(budget)?;
    Ok(List::Created(std::rc::Rc::new(keys.into_iter().map(Value::from).collect())))
}

fn value_of(constant: &Constant) -> Value<'_> {
    match constant {
        Constant::Null => Value::Null,
        Constant::Bool(bool) => Value::Bool(*bool),
        Constant::Int(number) => Value::Int(*number),
        Constant::Uint(number) => Value::Uint(*number),
        Constant::Double(number) => Value::Double(*number),
        Constant::Text(text) => Value::Text(Shared::Borrowed(text)),
        Constant::Bytes(bytes) => Value::Bytes(Shared::Borrowed(bytes)),
    }
}
