//! What an expression may say: columns that exist, filters and tests that exist, comparisons that
//! can hold. minijinja itself looks names up only when it comes to them.

use minijinja::Value;
use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr};
use minijinja::machinery::parse_expr;
use minijinja::value::ValueKind;

use super::environment::{Fault, fault_of, knows};
use super::tables::{ColumnInfo, find};
use crate::rows::ColumnType;

/// The columns that an expression names, each once, in order; or what is wrong with it.
pub(super) fn names(source: &str, columns: &[ColumnInfo]) -> Result<Vec<&'static str>, Fault> {
    let parsed = parse_expr(source).map_err(|error| fault_of(&error))?;
    let mut walk = Walk {
        columns,
        names: Vec::new(),
    };
    walk.expression(&parsed)?;
    Ok(walk.names)
}

struct Walk<'a> {
    columns: &'a [ColumnInfo],
    names: Vec<&'static str>,
}

impl Walk<'_> {
    fn expression(&mut self, expression: &Expr<'_>) -> Result<(), Fault> {
        let here = |reason: String| Fault {
            line: usize::from(expression.span().start_line),
            reason,
        };
        match expression {
            Expr::Const(_) => Ok(()),
            Expr::Var(variable) => self.name(variable.id).map_err(here),
            Expr::GetAttr(attribute) => {
                let whole = match &attribute.expr {
                    Expr::Var(variable) => format!("{}.{}", variable.id, attribute.name),
                    _ => return Err(here(format!("`.{}` is of no column", attribute.name))),
                };
                self.name(&whole).map_err(here)
            }
            Expr::Call(_) => Err(here(
                "functions cannot be called; filters and tests can".to_owned(),
            )),
            Expr::UnaryOp(operation) => self.expression(&operation.expr),
            Expr::BinOp(operation) => {
                self.expression(&operation.left)?;
                self.expression(&operation.right)?;
                if let Some(orders) = compares(operation.op) {
                    self.comparison(&operation.left, &operation.right, orders)
                        .map_err(here)?;
                }
                Ok(())
            }
            Expr::Compare(chain) => {
                self.expression(&chain.expr)?;
                let mut left = &chain.expr;
                for step in &chain.ops {
                    self.expression(&step.expr)?;
                    let orders = !matches!(step.op, CompareOpKind::In | CompareOpKind::NotIn);
                    self.comparison(left, &step.expr, orders).map_err(here)?;
                    left = &step.expr;
                }
                Ok(())
            }
            Expr::IfExpr(choice) => {
                self.expression(&choice.test_expr)?;
                self.expression(&choice.true_expr)?;
                self.all(choice.false_expr.iter())
            }
            Expr::Filter(filter) => {
                self.known("filter", filter.name).map_err(here)?;
                self.all(filter.expr.iter())?;
                self.arguments(&filter.args)
            }
            Expr::Test(test) => {
                self.known("test", test.name).map_err(here)?;
                self.expression(&test.expr)?;
                self.arguments(&test.args)
            }
            Expr::GetItem(item) => {
                self.expression(&item.expr)?;
                self.expression(&item.subscript_expr)
            }
            Expr::Slice(slice) => {
                self.expression(&slice.expr)?;
                let ends = [&slice.start, &slice.stop, &slice.step];
                self.all(ends.into_iter().flatten())
            }
            Expr::List(list) => self.all(list.items.iter()),
            Expr::Tuple(tuple) => self.all(tuple.items.iter()),
            Expr::Map(map) => self.all(map.keys.iter().chain(&map.values)),
        }
    }

    fn all<'e>(&mut self, expressions: impl Iterator<Item = &'e Expr<'e>>) -> Result<(), Fault> {
        let mut expressions = expressions;
        expressions.try_for_each(|expression| self.expression(expression))
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) -> Result<(), Fault> {
        arguments.iter().try_for_each(|argument| match argument {
            CallArg::Pos(value)
            | CallArg::Kwarg(_, value)
            | CallArg::PosSplat(value)
            | CallArg::KwargSplat(value) => self.expression(value),
        })
    }

    fn name(&mut self, name: &str) -> Result<(), String> {
        let column = self.columns[find(self.columns, name)?];
        // A dotted name that is a column was rewritten before: what is left has a space in it.
        if column.name != name {
            return Err(format!("write `{name}` as `{}`", column.name));
        }
        if !self.names.contains(&column.name) {
            self.names.push(column.name);
        }
        Ok(())
    }

    fn known(&self, kind: &str, name: &str) -> Result<(), String> {
        if knows(kind, name) {
            return Ok(());
        }
        Err(format!("minijinja has no {kind} `{name}`"))
    }

    /// A column and a constant of different types are never equal, and their order means nothing.
    fn comparison(&self, left: &Expr<'_>, right: &Expr<'_>, orders: bool) -> Result<(), String> {
        let (column, other) = match (left, right) {
            (Expr::Var(variable), other) | (other, Expr::Var(variable)) => (variable.id, other),
            _ => return Ok(()),
        };
        let Some(constant) = other.as_const() else {
            return Ok(());
        };
        let column = self.columns[find(self.columns, column)?];
        if orders {
            return fits(column, &constant);
        }
        let items = constant.try_iter().map_err(|error| error.to_string())?;
        if constant.kind() == ValueKind::Seq {
            return items.into_iter().try_for_each(|item| fits(column, &item));
        }
        fits(column, &constant)
    }
}

/// Whether an operation compares its sides; `false` for `in`.
const fn compares(operation: BinOpKind) -> Option<bool> {
    match operation {
        BinOpKind::Eq
        | BinOpKind::Ne
        | BinOpKind::Lt
        | BinOpKind::Lte
        | BinOpKind::Gt
        | BinOpKind::Gte => Some(true),
        BinOpKind::In => Some(false),
        _ => None,
    }
}

fn fits(column: ColumnInfo, constant: &Value) -> Result<(), String> {
    let (is, fits) = match column.kind {
        ColumnType::Text => ("text", constant.kind() == ValueKind::String),
        ColumnType::Time => ("a time (text)", constant.kind() == ValueKind::String),
        ColumnType::Boolean => ("true or false", constant.kind() == ValueKind::Bool),
        ColumnType::Integer | ColumnType::Number => {
            ("a number", constant.kind() == ValueKind::Number)
        }
    };
    if fits {
        return Ok(());
    }
    if constant.is_none() {
        return Err(format!(
            "nothing compares with a missing value: write `{0} is none` or `{0} is not none`",
            column.name
        ));
    }
    Err(format!(
        "`{}` is {is} and is compared with {} `{constant}`",
        column.name,
        match constant.kind() {
            ValueKind::String => "the text",
            ValueKind::Number => "the number",
            _ => "the value",
        }
    ))
}
